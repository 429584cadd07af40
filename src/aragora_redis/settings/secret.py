"""A value that nobody reads by accident."""

from __future__ import annotations

import hmac
import re
from typing import final

MASK = "********"

# `${NAME}` is a shell's or compose's form, `$(NAME)` is that of a Kubernetes manifest.
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\$\([A-Za-z_]\w*\)")


def unexpanded(text: str) -> bool:
    """Whether a placeholder such as `${REDIS_PASSWORD}` was left in the text."""
    return _PLACEHOLDER.search(text) is not None


@final
class Secret:
    """A password, token or key: `str`, `repr` and `format` show a mask, equality takes one time.

    Not a dataclass, because `dataclasses.asdict` would open it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._text

    def reveal_bytes(self) -> bytes:
        """The value in UTF-8, for use as a key."""
        return self._text.encode()

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal_bytes(), other.reveal_bytes())

    def __hash__(self) -> int:
        return hash((Secret, self._text))
