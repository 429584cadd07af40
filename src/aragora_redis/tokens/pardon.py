"""Undoing a revocation: an entry that names exactly one other, and that only a key's holder makes.

A pardon is a revocation's sibling: a member in the same set, joined, numbered, published, digested
and kept in outboxes in the same way, so that it survives whatever a revocation survives. Its member
is the first bytes of the one it pardons, and an HMAC over that one and its score under a key that
Redis never sees: who can write Redis cannot make one, and one that is altered names nothing. The
kind is part of what the pardoned member digests.
"""

from __future__ import annotations

import hashlib
import hmac

from .entry import MEMBER_BYTES, Entry

PARDONED = 500_000_000_000_000
"""Added to the score of what is pardoned: no revocation has such a score."""
NAMED_BYTES = 4
"""Bytes of the pardoned member that a pardon begins with: both are in one shard, and a pardon that
fits nothing is found."""


class Pardons:
    """Makes pardons, and knows them again.

    Args:
        key: what authenticates them; without one nothing is pardoned.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def member(self, member: bytes, score: int) -> bytes:
        """Under which a revocation with exactly this score is pardoned: 96 bits of HMAC-SHA256."""
        message = b"pardon" + member + b"%d" % score
        tag = hmac.digest(self._key, message, hashlib.sha256)
        return member[:NAMED_BYTES] + tag[: MEMBER_BYTES - NAMED_BYTES]

    def pardon(self, entry: Entry, note: str) -> Entry:
        """What pardons one entry, for as long as that is kept."""
        return Entry(
            entry.day, self.member(entry.member, entry.score), PARDONED + entry.score, note
        )


def is_pardon(score: int) -> bool:
    """Whether a member with this score stands for a pardon."""
    return score >= PARDONED
