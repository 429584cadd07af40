"""The version witness: a cookie says which state of its session the client has seen. Pure.

A store that has only an older state has lost what was acknowledged (a failover, a backup that was
put back), perhaps what took rights away. It cannot know that by itself; the client can. The version
is signed, so that a client cannot lower it, nor raise it, which would end the session.

    id "." version ["." when it was sent] "." 16 bytes of HMAC-SHA256 as base64url

A cookie that ends by itself says when it was sent (Unix seconds), so that it is sent anew in time.

The key is derived from `ARAGORA_DIGEST_KEY`: every instance has that, and it is never replaced.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from typing import NamedTuple

_PURPOSE = b"aragora-redis/session-witness/v1"
_BYTES = 16
_COOKIE = re.compile(
    r"([A-Za-z0-9_-]{1,64})\.(\d{1,16})(?:\.(\d{1,12}))?\.[A-Za-z0-9_-]{22}", re.ASCII
)


class Presented(NamedTuple):
    """What a client's cookie says: its session, and the version of it that it has seen."""

    session_id: str
    seen: int
    sent_at: int | None = None

    def __repr__(self) -> str:
        return f"Presented(seen={self.seen})"


class Witness:
    """Signs and reads cookies with the fleet's key."""

    def __init__(self, digest_key: bytes) -> None:
        self._key = hmac.digest(digest_key, _PURPOSE, hashlib.sha256)

    def cookie(self, session_id: str, version: int, sent_at: float | None = None) -> str:
        """The value of the cookie; with when it is sent (Unix seconds) where it is to say so."""
        said = f"{session_id}.{version}" + ("" if sent_at is None else f".{sent_at:.0f}")
        return f"{said}.{self._sign(said)}"

    def read(self, cookie: str | None) -> Presented | None:
        """What a cookie says; None for one that no instance of this fleet has given."""
        found = _COOKIE.fullmatch(cookie) if cookie is not None else None
        if found is None:
            return None
        said, _, mac = found[0].rpartition(".")
        if not hmac.compare_digest(mac, self._sign(said)):
            return None
        return Presented(found[1], int(found[2]), int(found[3]) if found[3] else None)

    def _sign(self, said: str) -> str:
        mac = hmac.digest(self._key, said.encode(), hashlib.sha256)[:_BYTES]
        return urlsafe_b64encode(mac).rstrip(b"=").decode()
