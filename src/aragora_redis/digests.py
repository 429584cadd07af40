"""What stands for an id or a subject where nobody is to read it."""

from __future__ import annotations

from hashlib import blake2b


def blake2b_key(key: bytes) -> bytes:
    """A key as BLAKE2b takes it, which has none above 64 bytes (RFC 7693)."""
    return key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()


def digest_of(member: bytes) -> str:
    """What stands for an id in records and lists: equal for equal ids, and opens nothing."""
    return member.hex()[:16]
