"""By which claims a token of Aragora is judged.

One signature has many texts, and Aragora accepts each: it decodes as leniently as we do. Whoever
keys a revocation on the text, as Aragora does, lets the token live on under another one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..tokens.entry import VALUE_LIMIT
from ..tokens.identity import part_of, token_id


def claims_of(token: str) -> dict[str, Any]:
    """The claims by which a token is judged: its `jti`, or a digest of it; `sub` and `iat`.

    They are as good as the signature, which is Aragora's to verify: it does so before it asks for
    a verdict that admits anything, and before it revokes.
    """
    try:
        payload = json.loads(part_of(token.split(".")[1]))
        if not isinstance(payload, dict) or len(str(payload.get("jti"))) > VALUE_LIMIT:
            payload = {}
        claims: dict[str, Any] = {"jti": token_id(token, payload)}
    except (ValueError, IndexError, RecursionError):
        return {"jti": digest_id(token)}
    user, issued = payload.get("sub"), payload.get("iat")
    if isinstance(user, str) and 0 < len(user) <= VALUE_LIMIT:
        claims["sub"] = user
        if isinstance(issued, int | float) and not isinstance(issued, bool) and abs(issued) < 1e15:
            claims["iat"] = issued
    return claims


def digest_id(text: str) -> str:
    """The id of something that is known by its text only."""
    return f"text:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
