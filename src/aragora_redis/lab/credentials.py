"""The secrets of a lab, made once for each directory."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, fields
from pathlib import Path

from .files import write_private


@dataclass(frozen=True, slots=True)
class Credentials:
    """One file each, named like the field with dashes."""

    redis_password: str = field(repr=False)
    sentinel_password: str = field(repr=False)
    gateway_token: str = field(repr=False)
    admin_token: str = field(repr=False)
    digest_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)


def load_credentials(directory: Path) -> Credentials:
    """Read what is there, and make what is missing.

    They outlive a stop, because data that was written under one digest key cannot be found under
    another.
    """
    return Credentials(
        **{
            each.name: load_secret(directory / each.name.replace("_", "-"))
            for each in fields(Credentials)
        }
    )


def has_credentials(directory: Path) -> bool:
    """Whether any were made in a directory."""
    return (directory / "admin-token").exists()


def load_secret(path: Path) -> str:
    """The secret in a file, made now where there is none."""
    text = path.read_text("utf-8").strip() if path.exists() else ""
    if not text:
        # Hexadecimal survives every config file, URL and command line unquoted.
        text = secrets.token_hex(32)
        write_private(path, text + "\n")
    return text
