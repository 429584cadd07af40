"""Names that become part of keys, labels and paths."""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidInputError

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def validate_name(name: str, of: str) -> None:
    """Accept the name of a limit or a circuit; `of` says of which, such as `a limit`.

    Raises:
        InvalidInputError: it is not 1 to 64 characters out of `A-Z a-z 0-9 _ . -`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{str(name)[:80]!r} is not a name for {of}",
            remedy="use 1 to 64 of the characters A-Z a-z 0-9 _ . -",
        )
