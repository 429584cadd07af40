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
from collections.abc import Collection, Iterable
from typing import Protocol

from ..errors import InvalidInputError
from .entry import PARDON_BYTES, PARDONED, Entry

NAMED_BYTES = 4
"""Bytes of the pardoned member that a pardon begins with: both are in one shard, and a pardon that
fits nothing is found."""


class Holds(Protocol):
    """What is known of revocations and pardons: a shard's replica."""

    pardons: set[bytes]

    def entries_of(self, member: bytes) -> list[Entry]:
        """A member on each day that holds it."""


class Pardons:
    """Makes pardons, and knows them again.

    Args:
        key: what authenticates them; without one none is made, and none is heeded.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    @property
    def heeded(self) -> bool:
        """Whether there is a key."""
        return self._key is not None

    def member(self, member: bytes, score: int) -> bytes | None:
        """Under which a revocation with exactly this score is pardoned: 96 bits of HMAC-SHA256."""
        if self._key is None:
            return None
        tag = hmac.digest(self._key, b"pardon%b%d" % (member, score), hashlib.sha256)
        return member[:NAMED_BYTES] + tag[: PARDON_BYTES - NAMED_BYTES]

    def pardon(self, entry: Entry, note: str) -> Entry:
        """What pardons one entry, for as long as that is kept.

        Raises:
            InvalidInputError: there is no key.
        """
        member = self.member(entry.member, entry.score)
        if member is None:
            raise InvalidInputError(
                "there is no key for pardons, so nothing was done",
                remedy="set ARAGORA_PARDON_KEY, the same on every instance",
            )
        return Entry(entry.day, member, PARDONED + entry.score, note)

    def due(self, known: Holds, member: bytes) -> list[Entry]:
        """The entries of a member that hold, those pardoned left out."""
        entries = known.entries_of(member)
        if not known.pardons:
            return entries
        return [e for e in entries if self.member(e.member, e.score) not in known.pardons]

    def anew(self, known: Holds, entry: Entry, *, ends: bool = False) -> Entry:
        """An entry as it must be for a pardon of before not to undo it, with the key or without.

        It gets the first score from its own on that was not pardoned, and a day on which no greater
        score, pardoned, would swallow it.

        Args:
            known: all that is known of its member, and all pardons that begin as that does.
            entry: as it would be without pardons.
            ends: its score says when it ends, and may be greater than what would swallow it: then
                it stays on its day. That of a cut-off says whom it covers, and may not.
        """
        if not known.pardons:
            return entry
        shown = _shown(known, entry.member)

        def undone(score: int) -> bool:
            return score in shown or self.member(entry.member, score) in known.pardons

        pardoned = {
            each.day: each.score for each in known.entries_of(entry.member) if undone(each.score)
        }
        day, score = entry.day, entry.score
        if ends:
            score = max(score, pardoned.get(day, -1) + 1)
        while undone(score):
            score += 1
        while pardoned.get(day, -1) >= score:
            day += 1
        return entry._replace(day=day, score=score)

    def stray(self, pardons: Collection[bytes], entries: Iterable[Entry]) -> set[bytes]:
        """Which of some pardons fit none of the entries whose members begin as theirs do."""
        return set(pardons) - {self.member(entry.member, entry.score) for entry in entries}


NO_PARDONS = Pardons(None)


def _shown(known: Holds, member: bytes) -> set[int]:
    """The scores under which pardons that begin as a member do say that it is pardoned.

    That takes no key. One that was forged, or is another's, costs a revocation one millisecond.
    """
    named = [each for each in known.pardons if each[:NAMED_BYTES] == member[:NAMED_BYTES]]
    return {entry.score - PARDONED for each in named for entry in known.entries_of(each)}


def is_pardon(score: int) -> bool:
    """Whether a member with this score stands for a pardon."""
    return score >= PARDONED
