"""What identifies a token, however its text was written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any


def token_id(token: str, claims: Mapping[str, Any]) -> str:
    """What a verified token is revoked under: its `jti`, or a digest of what was signed.

    The digest is taken of the decoded header and payload, and not of the text: the last character
    of base64 has bits that most decoders ignore, and a signature can be written in several ways, so
    a revoked token could otherwise come back spelled differently.

    Raises:
        ValueError: it has no three parts, or one of them is no base64.
    """
    jti = claims.get("jti")
    if isinstance(jti, str) and jti:
        return jti
    header, payload, _ = token.split(".")
    signed = b".".join(part_of(part) for part in (header, payload))
    return f"sig:{hashlib.sha256(signed).hexdigest()}"


def part_of(text: str) -> bytes:
    """What a part of a token holds, read as leniently as those who issue tokens read it."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
