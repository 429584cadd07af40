"""Session ids: what the client holds, and what of it is stored.

An id is two bytes that name the slot and 32 random ones, as base64url (RFC 4648). Redis, logs and
other instances see only the keyed digest of it, so whoever reads those can use no session.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from ..tokens.entry import DIGEST_BYTES, RevocationKind, digests, full_digest, member_of

SHARDS = 1024
IDS = 4096
"""Ids of which it is remembered where their sessions are stored: most come again at once."""
_RANDOM_BYTES = 32
_ID_CHARACTERS = 46
_ID = re.compile(r"[A-Za-z0-9_-]{45}[AQgw]", re.ASCII)
"""What an id may be: another last letter would be another spelling of the same bytes."""


class SessionRef(NamedTuple):
    """Where a session is stored: the slot, and the digest of its id (16 bytes)."""

    shard: int
    member: bytes

    def moved(self, member: bytes) -> SessionRef:
        """Where a rotation, which stays in the slot, has put it."""
        return SessionRef(self.shard, member)

    def __repr__(self) -> str:
        return f"SessionRef(shard={self.shard})"


def new_id(shard: int) -> str:
    """A fresh id with 256 random bits."""
    return _text(shard.to_bytes(2, "big") + secrets.token_bytes(_RANDOM_BYTES))


def parse_id(key: bytes, text: str | None) -> SessionRef | None:
    """Where the session of an id is stored; None for what no version of this has issued."""
    if not isinstance(text, str) or len(text) != _ID_CHARACTERS:
        return None
    return _refs(key)(text)


def fresh_id(key: bytes, shard: int) -> tuple[str, SessionRef]:
    """A fresh id, and where its session is stored."""
    text = new_id(shard)
    return text, SessionRef(shard, digests(key, RevocationKind.SESSION, DIGEST_BYTES)(text))


@lru_cache(maxsize=16)
def _refs(key: bytes) -> Callable[[str], SessionRef | None]:
    """What `parse_id` says of a text of the right length; a service has one key."""
    digest = digests(key, RevocationKind.SESSION, DIGEST_BYTES)

    @lru_cache(maxsize=IDS)
    def ref_of(text: str) -> SessionRef | None:
        if _ID.fullmatch(text) is None:
            return None
        shard = int.from_bytes(urlsafe_b64decode(text[:4])[:2], "big")
        return SessionRef(shard, digest(text)) if shard < SHARDS else None

    return ref_of


def user_ref(key: bytes, user: str) -> SessionRef:
    """Where the sessions of a user are stored, and the digest that names their index.

    Raises:
        InvalidInputError: the user id is empty or too long.
    """
    member = full_digest(key, RevocationKind.USER, user)
    return SessionRef(int.from_bytes(member[-2:], "big") % SHARDS, member)


def all_sessions(key: bytes) -> bytes:
    """The digest whose score in the revocations is the cut-off of all sessions; that of no id."""
    return member_of(key, RevocationKind.SESSION, "all")


def sessions_of(key: bytes, home: SessionRef) -> bytes:
    """The digest whose score in the revocations is the cut-off of a user's; that of no id.

    Another than that of the user's tokens, which may live on.
    """
    return member_of(key, RevocationKind.SESSION, f"of {handle_of(home.member)}")


def handle_of(member: bytes) -> str:
    """What may be shown of a session: it names it and opens nothing."""
    return _text(member)


def member_of_handle(handle: str) -> bytes | None:
    """The digest that a handle shows; None for what is none."""
    try:
        member = urlsafe_b64decode(handle + "==")
    except ValueError:
        return None
    return member if len(member) == DIGEST_BYTES and handle_of(member) == handle else None


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
