"""One shard of the live revocations, in this process: every check is answered from here.

A join keeps the greater score, so applying anything twice, in any order, from any instance, ends in
the same state. Nothing is removed but by its day being over: that is invariant I1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from .entry import DAY, PARDONED, SUMS, DayDigest, Entry, added, raised
from .table import Table

KEEP_AFTER = 3_600
"""Seconds for which a day is kept after its end, for clocks that differ."""
_NOTHING = DayDigest()


class ShardReplica:
    """Members by day, and the greatest score of each over all days."""

    def __init__(self) -> None:
        self._table = Table()
        self._digests: dict[int, DayDigest] = {}
        self._dropping: Iterator[None] | None = None
        self._over: frozenset[int] = frozenset()
        self.pardons: set[bytes] = set()
        """Members that stand for pardons, whoever made them."""
        self.score = self._table.score
        """The greatest score joined for a member, or None."""
        self.on_change: Callable[[], None] = _heard_by_nobody
        """Called when what is held may say something else than before."""

    def __len__(self) -> int:
        return len(self._table) - len(self.pardons)

    def __repr__(self) -> str:
        return f"<ShardReplica of {len(self)} members>"

    def entries_of(self, member: bytes) -> list[Entry]:
        """`member` on each day that holds it."""
        return self._table.entries(member)

    def day_of(self, member: bytes) -> int | None:
        """The last day that holds `member`, or None."""
        return max((entry.day for entry in self.entries_of(member)), default=None)

    def apply(self, entry: Entry) -> bool:
        """Join one entry; True if it was news."""
        return self.join(entry.day, {entry.member: entry.score}) == 1

    def join(self, day: int, members: Mapping[bytes, int]) -> int:
        """Join members of one day with their scores; how many were news."""
        if day in self._over:  # its digest is gone, and would not be that of what is left
            return 0
        came, changed = self._table.join(day, members)
        size, total = self._digests.get(day, _NOTHING)
        if came:
            size += len(came)
            total += added(came)
        if changed:
            size += [before for _, _, before in changed].count(None)
            total += raised(changed)
            self.pardons.update([member for member, score, _ in changed if score >= PARDONED])
        if came or changed:
            self._digests[day] = DayDigest(size, total % SUMS)
            self.on_change()
        return len(came) + len(changed)

    def expect(self, members: int) -> None:
        """Make room for so many, so that nothing has to move while they are joined."""
        self._table.expect(members)

    def digests(self) -> dict[int, DayDigest]:
        """The digest of each day."""
        return dict(self._digests)

    def entries(self) -> Iterator[Entry]:
        """All of all days, in no order. Some may come twice if entries are joined meanwhile."""
        return iter(self._table)

    def entries_from(self, day: int) -> Iterator[Entry]:
        """All of that day and later ones, in no order."""
        return (entry for entry in self._table if entry.day >= day)

    def drop_past(self, now: float) -> bool:
        """Forget some of the days that are over (`now` in Unix seconds); whether there are more."""
        if self._dropping is None:
            self._over = frozenset(d for d in self._digests if (d + 1) * DAY + KEEP_AFTER <= now)
            if not self._over:
                return False
            for day in self._over:
                del self._digests[day]
            self._dropping = self._table.drop(self._over)
        for _ in self._dropping:
            return True
        self._dropping, self._over = None, frozenset()
        self.pardons = {member for member in self.pardons if self._table.score(member) is not None}
        self.on_change()
        return False


def _heard_by_nobody() -> None:
    return


def lacking(mine: dict[bytes, int], theirs: dict[bytes, int]) -> Iterable[tuple[bytes, int]]:
    """What `mine` holds that `theirs` lacks, or holds with a smaller score."""
    return ((m, score) for m, score in mine.items() if theirs.get(m, -1) < score)
