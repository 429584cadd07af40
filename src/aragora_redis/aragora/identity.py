"""What identifies a token, however its text was written.

The last character of a base64 text holds bits that no decoder reads, and lenient decoders skip what
is no base64 at all. So one signature has many texts, and Aragora accepts each: whoever keys a
revocation on the text lets the token live on under another one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

_PREFIX = "aragora:"
"""Keeps digests apart from ids that an issuer chose."""
_JTI_LIMIT = 512


def canonical(token: str) -> str:
    """The one text of a token's three parts; what is no such token stays as it is.

    It decodes as leniently as Aragora does, or what that accepts would have an identity of its own.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return token
    try:
        decoded = [_decode(part) for part in parts]
    except (ValueError, binascii.Error):
        return token
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii") for part in decoded)


def digest_id(text: str) -> str:
    """The id of something that is known by its text only."""
    return _PREFIX + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def claims_of(token: str) -> dict[str, Any]:
    """The claims by which a token is judged: its `jti`, or a digest of it; `sub` and `iat`.

    They are as good as the signature, which is Aragora's to verify: it does so before it asks for
    a verdict that admits anything, and before it revokes.
    """
    text = canonical(token)
    payload = _payload(text)
    jti = payload.get("jti")
    known = isinstance(jti, str) and 0 < len(jti) <= _JTI_LIMIT and _sendable(jti)
    claims: dict[str, Any] = {"jti": jti if known else digest_id(text)}
    user, issued = payload.get("sub"), payload.get("iat")
    if isinstance(user, str) and 0 < len(user) <= _JTI_LIMIT and _sendable(user):
        claims["sub"] = user
        if isinstance(issued, int | float) and not isinstance(issued, bool) and abs(issued) < 1e15:
            claims["iat"] = issued
    return claims


def _payload(text: str) -> dict[str, Any]:
    parts = text.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = json.loads(_decode(parts[1]))
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _sendable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
