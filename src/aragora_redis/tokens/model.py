"""The rules of `scripts/join.lua` in Python: what the script is held to, and a store to simulate.

One model is the data of one shard on one server; `promoted` is what a replica that holds a prefix
of it becomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Self

from .entry import DAY, SUMS, DayDigest, Entry, fingerprint
from .position import Position
from .shard import Head


class ShardModel:
    """One shard as Redis holds it.

    Args:
        rid: the server's replication id, which changes with each promotion and restart.
    """

    def __init__(self, rid: bytes) -> None:
        self.rid = rid
        self.days: dict[int, dict[bytes, int]] = {}
        self.digests: dict[int, DayDigest] = {}
        self.feed: list[tuple[int, int, list[Entry]]] = []
        self._ends: dict[int, tuple[bytes, int]] = {}
        self._position: Position | None = None
        self._opened = 0

    def join(
        self, entries: Sequence[Entry], *, nonce: bytes, now: int, durable: bool = False
    ) -> tuple[Position, int]:
        """Add entries at server time `now` (microseconds); the position, and how many were news."""
        position = self._in_current_era(nonce, now)
        changed = [entry._replace(note="") for entry in entries if self._add(entry, now)]
        if changed or durable:
            position = position._replace(seq=position.seq + 1)
            self.feed.append((position.era, position.seq, changed))
        self._position = position
        return position, len(changed)

    def head(self, now: int) -> Head | None:
        """What a survey reads; None before the first join."""
        if self._position is None:
            return None
        sizes = {day: len(members) for day, members in self.days.items()}
        return Head(self._position, self._opened, dict(self._ends), dict(self.digests), now, sizes)

    def redigest(self, day: int, *, stored: DayDigest, true: DayDigest, now: int) -> bool:
        """Put a day's digest right and begin an era, see `scripts/redigest.lua`."""
        size = len(self.days.get(day, ()))
        if self._position is None or (self.digests.get(day, DayDigest()), size) != (
            stored,
            true.size,
        ):
            return False
        self._position = self._position._replace(era=self._position.era + 1, seq=0)
        self._opened = now
        self.digests[day] = true
        if not size:
            del self.digests[day]
        return True

    def after(self, position: Position) -> list[tuple[int, int, list[Entry]]]:
        """The records of the feed after a position."""
        return [record for record in self.feed if record[:2] > (position.era, position.seq)]

    def promoted(self, rid: bytes) -> Self:
        """A copy that goes on as another server's data."""
        copy = deepcopy(self)
        copy.rid = rid
        return copy

    def _in_current_era(self, nonce: bytes, now: int) -> Position:
        known = self._position
        if known is not None and known.rid == self.rid:
            return known
        self._opened = now
        if known is None:
            return Position(b"%b-%d" % (nonce, now), self.rid, 1, 0)
        self._ends[known.era] = (known.rid, known.seq)
        self._ends.pop(known.era - 64, None)
        return Position(known.nonce, self.rid, known.era + 1, 0)

    def _add(self, entry: Entry, now: int) -> bool:
        day = self.days.get(entry.day, {})
        before = day.get(entry.member)
        over = (entry.day + 2) * DAY * 1_000_000 <= now
        if over or (before is not None and before >= entry.score):
            return False
        digest = self.digests.get(entry.day)
        if digest is None:
            self._forget_days(now)
            digest = DayDigest()
        added = fingerprint(entry.member, entry.score)
        if before is not None:
            added -= fingerprint(entry.member, before)
        total = (digest.sum + added) % SUMS
        self.digests[entry.day] = DayDigest(digest.size + (before is None), total)
        self.days.setdefault(entry.day, {})[entry.member] = entry.score
        return True

    def _forget_days(self, now: int) -> None:
        for day in [day for day in self.digests if (day + 32) * DAY * 1_000_000 <= now]:
            del self.digests[day]
