"""What the reference says about a variable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Group(StrEnum):
    """A section of the reference."""

    WHERE = "Where Redis is"
    CREDENTIALS = "Credentials"
    TLS = "TLS"
    LIMITS = "Rate limiting"
    TOKENS = "Revoked tokens"
    SESSIONS = "Sessions"
    GENERAL = "General"
    GATEWAY = "Gateway"
    JWT = "Verified tokens"


@dataclass(frozen=True, slots=True)
class Doc:
    """What the reader of the reference needs to know about a variable."""

    group: Group
    form: str
    """What it takes, so that "set it to ..." can be followed by it."""
    text: str
    secret: bool = False
    default: str | None = None
    """The default in words, where the value itself would not tell."""
