"""Names that become part of keys, labels and paths; and what else callers hand over as text."""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidInputError

_NAME: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.-]{1,64}")


def validate_text(value: object, what: str, *, most: int | None = None, least: int = 1) -> None:
    """Accept a text that can be sent; `what` names it, such as `a user`.

    Args:
        value: what the caller has given.
        what: names it in the error.
        most: characters it may have.
        least: characters it must have.

    Raises:
        InvalidInputError: it is no text, too short, too long, or holds what cannot be sent.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} must be text, not {type(value).__name__}")
    if len(value) < least or (most is not None and len(value) > most):
        raise InvalidInputError(f"{what} must have {least} to {most} characters")
    if "\0" in value:
        raise InvalidInputError(f"{what} holds a NUL")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(
                f"{what} holds half of a character (a lone surrogate)"
            ) from None


def validate_name(name: str, of: str) -> None:
    """Accept the name of a limit or a circuit; `of` says of which, such as `a limit`.

    Raises:
        InvalidInputError: it is not 1 to 64 characters out of `A-Z a-z 0-9 _ . -`, or only
            punctuation, which clients that tidy paths could not reach.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"the name of {of} must be text, not {type(name).__name__}")
    if not _NAME.fullmatch(name):  # which is not repeated: it may be a token in the wrong place
        raise InvalidInputError(
            f"that is not a name for {of}",
            remedy="use 1 to 64 of the characters A-Z a-z 0-9 _ . -",
        )
