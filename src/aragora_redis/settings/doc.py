"""What the reference says about a variable."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


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


class Doc(Struct, frozen=True):
    """What the reader of the reference needs to know about a variable."""

    group: Group
    form: str
    """What it takes, so that "set it to ..." can be followed by it."""
    text: str
    secret: bool = False
    default: str | None = None
    """The default in words, where the value itself would not tell."""
