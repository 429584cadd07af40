"""The hash slots of what the load uses, by which a cluster's faults are told apart. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from functools import lru_cache

from redis.crc import key_slot

from aragora_redis.rate_limit.operations import limit_key, subject_digest
from aragora_redis.settings import Cluster, Settings
from aragora_redis.tokens.entry import SHARDS, RevocationKind, member_of
from aragora_redis.tokens.operations import ShardKeys

NOWHERE = -1
"""Where there are no slots."""


@lru_cache
def limit_slot(settings: Settings, subject: str) -> int:
    """That of all limits of a subject."""
    if not isinstance(settings.topology, Cluster):
        return NOWHERE
    digest = subject_digest(settings.digest_key.reveal_bytes(), subject)
    return key_slot(limit_key(settings.prefix, "any", digest))


def session_slot(settings: Settings, session_id: str) -> int:
    """That of a session."""
    if not isinstance(settings.topology, Cluster):
        return NOWHERE
    return key_slot(b"{s%d}" % int.from_bytes(urlsafe_b64decode(session_id[:4])[:2], "big"))


@lru_cache(4096)
def token_slot(settings: Settings, jti: str) -> int:
    """That of the revocations by which a token with this id alone is judged."""
    if not isinstance(settings.topology, Cluster):
        return NOWHERE
    member = member_of(settings.digest_key.reveal_bytes(), RevocationKind.JTI, jti)
    return key_slot(ShardKeys(settings.prefix, member[0] % SHARDS).head)


def token_slots(settings: Settings) -> frozenset[int]:
    """Those of the shards of revocations."""
    return frozenset(key_slot(ShardKeys(settings.prefix, n).head) for n in range(SHARDS))
