"""One shard on one server, as the join script keeps it. Members are the bits of a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

End = tuple[int, int, int]
"""Era, replication id, and the last number of it that survived."""
Record = tuple[int, int, int]
"""Era, number and members of a change."""
History = tuple[int, int, int]
"""Nonce, replication id and era."""
NOTHING: History = (0, 0, 0)
"""In a row: its instance knows nothing that a history could lack."""


class Position(NamedTuple):
    """Up to where a history has been applied."""

    nonce: int
    rid: int
    era: int
    seq: int


class Survey(NamedTuple):
    """What a look at a shard tells."""

    position: Position
    ends: tuple[End, ...]
    members: int

    def end_of(self, rid: int, era: int) -> int | None:
        """The last number of a history that is part of this one; None for a foreign one."""
        return next((seq for e, r, seq in self.ends if (e, r) == (era, rid)), None)

    def history(self, era: int) -> int | None:
        """The replication id of an era."""
        if era == self.position.era:
            return self.position.rid
        return next((rid for e, rid, _ in self.ends if e == era), None)

    def continues(self, mine: Position, era: int, seq: int) -> bool:
        """Whether this change is the next one after a position."""
        if era == mine.era:
            return seq == mine.seq + 1
        if era < mine.era or seq != 1:
            return False
        last = {e: seq for e, _, seq in self.ends}
        return last.get(mine.era) == mine.seq and not any(
            last.get(passed, -1) for passed in range(mine.era + 1, era)
        )


class Store(NamedTuple):
    """A shard.

    Attributes:
        rid: the server's replication id.
        head: the position that is stored; None where nothing is.
        ends: of the histories before.
        feed: all changes.
        rows: what each instance says it has reconciled, by its index, in order.
    """

    rid: int
    head: Position | None = None
    ends: tuple[End, ...] = ()
    feed: tuple[Record, ...] = ()
    rows: tuple[tuple[int, History], ...] = ()

    @property
    def members(self) -> int:
        """All that were ever joined."""
        found = 0
        for _, _, some in self.feed:
            found |= some
        return found

    @property
    def survey(self) -> Survey | None:
        """What a look tells; None where nothing is stored."""
        return Survey(self.head, self.ends, self.members) if self.head is not None else None

    def join(self, some: int, *, durable: bool = False) -> tuple[Store, Position, int]:
        """Add members in the current era; the store, where that stands, and what was news."""
        head, ends = self.head, self.ends
        if head is None:
            head = Position(self.rid, self.rid, 1, 0)
        elif head.rid != self.rid:
            ends = (*ends, (head.era, head.rid, head.seq))
            head = Position(head.nonce, self.rid, head.era + 1, 0)
        news, feed = some & ~self.members, self.feed
        if news or durable:
            head = head._replace(seq=head.seq + 1)
            feed = (*feed, (head.era, head.seq, news))
        return self._replace(head=head, ends=ends, feed=feed), head, news

    def beat(self, index: int, history: History | None) -> Store:
        """An instance says what it has reconciled; with none it agrees with nobody."""
        rows = dict(self.rows)
        rows.pop(index, None)
        if history is not None:
            rows[index] = history
        return self._replace(rows=tuple(sorted(rows.items())))

    def prefixes(self) -> Iterator[Store]:
        """What a replica may hold of it, however far behind it is; or a server that lost all."""
        yield Store(self.rid)
        if self.head is None:
            return
        for era, rid, last in (*self.ends, (self.head.era, self.head.rid, self.head.seq)):
            ends = tuple(end for end in self.ends if end[0] < era)
            for seq in range(last + 1):
                feed = tuple(each for each in self.feed if each[:2] <= (era, seq))
                yield Store(self.rid, Position(self.head.nonce, rid, era, seq), ends, feed)
