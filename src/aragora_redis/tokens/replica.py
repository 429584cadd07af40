"""One shard of the live revocations, in this process: every check is answered from here.

A join keeps the greater score, so applying anything twice, in any order, from any instance, ends in
the same state. Nothing is removed but by its day being over: that is invariant I1.
"""

from __future__ import annotations

from collections.abc import Iterable

from .entry import DAY, DayDigest, Entry, fingerprint

KEEP_AFTER = 3_600
"""Seconds for which a day is kept after its end, for clocks that differ."""


class ShardReplica:
    """Members by day, and the greatest score of each over all days."""

    def __init__(self) -> None:
        self._days: dict[int, dict[bytes, int]] = {}
        self._digests: dict[int, DayDigest] = {}
        self._greatest: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._greatest)

    def __repr__(self) -> str:
        return f"<ShardReplica of {len(self)} members>"

    def score(self, member: bytes) -> int | None:
        """The greatest score joined for `member`, or None."""
        return self._greatest.get(member)

    def day_of(self, member: bytes) -> int | None:
        """The last day that holds `member`, or None."""
        return max((day for day, scores in self._days.items() if member in scores), default=None)

    def apply(self, entry: Entry) -> bool:
        """Join one entry; True if it was news."""
        day = self._days.setdefault(entry.day, {})
        before = day.get(entry.member)
        if before is not None and before >= entry.score:
            return False
        digest = self._digests.get(entry.day, DayDigest())
        mixed = digest.xor ^ fingerprint(entry.member, entry.score)
        if before is not None:
            mixed ^= fingerprint(entry.member, before)
        self._digests[entry.day] = DayDigest(digest.size + (before is None), mixed)
        day[entry.member] = entry.score
        if self._greatest.get(entry.member, -1) < entry.score:
            self._greatest[entry.member] = entry.score
        return True

    def digests(self) -> dict[int, DayDigest]:
        """The digest of each day."""
        return dict(self._digests)

    def day(self, day: int) -> dict[bytes, int]:
        """The members of one day and their scores, as a copy."""
        return dict(self._days.get(day, {}))

    def drop_past(self, now: float) -> int:
        """Forget the days that are over (`now` in Unix seconds); returns how many entries."""
        past = [day for day in self._days if (day + 1) * DAY + KEEP_AFTER <= now]
        dropped = 0
        for day in past:
            members = self._days.pop(day)
            del self._digests[day]
            dropped += len(members)
            for member in members:
                self._reconsider(member)
        return dropped

    def _reconsider(self, member: bytes) -> None:
        left = [scores[member] for scores in self._days.values() if member in scores]
        if left:
            self._greatest[member] = max(left)
        else:
            self._greatest.pop(member, None)


def lacking(mine: dict[bytes, int], theirs: dict[bytes, int]) -> Iterable[tuple[bytes, int]]:
    """What `mine` holds that `theirs` lacks, or holds with a smaller score."""
    return ((m, score) for m, score in mine.items() if theirs.get(m, -1) < score)
