"""How one instance follows one shard of the revocations, across rollbacks. Pure decisions.

Redis numbers each change of a shard within an *era*, a history of the data that begins with a
promotion or a restart. A position names both, because after a rollback the new history can overtake
the old position, and reading on from a number alone would return nothing, for ever.

Invariant I1 rests on four rules: the script changes set, digest, number and feed in one step, so a
replica of Redis holds a prefix of each era; an entry leaves `_ring` only when the surviving end of
its era covers it, or a comparison of digests has seen it; the position moves contiguously, or by a
full comparison; nothing is removed but by expiry. See docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from .entry import DAY, DayDigest, Entry
from .position import Position
from .replica import ShardReplica
from .ring import Kept, Ring

COUNTED_DAYS = 33
"""From yesterday on: as many as a cut-off lives by default, and both ends."""
ACCEPTED_AFTER = 600
"""Seconds after the end of a day for which tokens of it may be accepted: by the greatest skew that
may be allowed, 300 s, on a clock that is as far behind as one that compares may be."""

Key = tuple[int, bytes]


class Head(Struct, frozen=True):
    """Where a shard stands in Redis."""

    position: Position
    opened: int
    """Server microseconds at which its era began."""
    ends: dict[int, tuple[bytes, int]]
    """For each earlier era, its replication id and the last number that survived."""
    digests: dict[int, DayDigest] = field(default_factory=dict)
    server_now: int = 0
    """Server microseconds at which this was read."""
    sizes: dict[int, int] = field(default_factory=dict)
    """How many members the sets of some days have: not what their digests say, if something else
    than the join script has changed them."""

    def history(self, era: int) -> bytes | None:
        """The replication id of an era; None for one that ends nowhere, see `redigest.lua`."""
        return self.position.rid if era == self.position.era else self.ends.get(era, (None,))[0]

    def surviving(self, rid: bytes, era: int) -> int | None:
        """The last number of an era that is part of this history; None for a foreign one.

        A replication id alone does not name it: a slot that moves away and back is twice under one.
        """
        other, seq = self.ends.get(era, (b"", 0))
        return seq if other == rid else None


class Plan(Struct, frozen=True):
    """What following `head` takes.

    Attributes:
        full: compare all days with Redis, because the position cannot be carried over.
        own: entries of this instance that the new history lacks; to be joined at once.
        learned: the same of other instances; to be joined after a random pause, unless the feed
            has shown them by then.
        new_era: the history has changed since the last look.
    """

    full: bool
    own: tuple[Entry, ...] = ()
    learned: tuple[Entry, ...] = ()
    new_era: bool = False


class Shard:
    """The replica of one shard, the position, and what may have to be said again."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.replica = ShardReplica()
        self.position: Position | None = None
        self.reconciled: Position | None = None
        """The history that lacks nothing of what is known here: what it had lost was published
        again, or nothing was known when it was first seen."""
        self._must_compare = False
        self._ring = Ring()
        self._floors: dict[tuple[bytes, int], int] = {}
        self._dirty: dict[Key, Entry] = {}
        self._held_back: set[Key] = set()
        self._learned: dict[Key, Entry] = {}

    @property
    def knows_nothing(self) -> bool:
        """Whether it has nothing that any history could lack."""
        return not (len(self.replica) or self._dirty or self._learned or self._ring)

    # --- own revocations ----------------------------------------------------------------

    def add_own(self, entry: Entry) -> None:
        """Take in a revocation of this instance. It is dirty until a join of it is confirmed."""
        self.replica.apply(entry)
        _owe(self._dirty, entry)

    def confirmed(self, position: Position, entries: Sequence[Entry], *, own: bool) -> None:
        """A join of these entries has been answered at `position` by a trusted primary."""
        if self._has_passed(position):
            self._owe_again(entries, own=own)
            return
        for entry in entries:
            _settle(self._dirty, entry)
            _settle(self._learned, entry)
        self._keep(position, entries, own=own)

    @property
    def dirty(self) -> tuple[Entry, ...]:
        """Own entries that no primary is known to hold."""
        return tuple(self._dirty.values())

    @property
    def due(self) -> tuple[Entry, ...]:
        """Those of `dirty` that are to be joined now."""
        return tuple(entry for key, entry in self._dirty.items() if key not in self._held_back)

    def hold_back(self, entries: Iterable[Entry]) -> None:
        """Join these again in another history, or after `release`, but not with each look.

        For what a primary leaves out because its clock calls it over.
        """
        self._held_back.update((entry.day, entry.member) for entry in entries)

    def release(self) -> None:
        """Try again what was held back."""
        self._held_back.clear()

    @property
    def learned(self) -> tuple[Entry, ...]:
        """Entries of others that the present history has not shown yet."""
        return tuple(self._learned.values())

    # --- following ----------------------------------------------------------------------

    def on_message(self, position: Position, entries: Sequence[Entry]) -> bool:
        """Apply a published change; False where it does not continue the position: look.

        What it says is joined in either case, since a revocation may always be believed.
        """
        self._learn(entries)
        mine = self.position
        if mine is None and self.reconciled and self.reconciled[:3] != position[:3]:
            self.reconciled = (
                None  # heard of another history, which the one that is loaded may lack
            )
        known = mine.seq if mine is not None and position[:3] == mine[:3] else None
        if known is not None and position.seq <= known:
            return True
        if self._has_passed(position):
            self._owe_again(entries, own=False)
            return False
        self._keep(position, entries, own=False)
        if known is None or position.seq != known + 1:
            return False
        self.position = position
        return True

    def on_head(self, head: Head, *, asked_at: Position | None) -> Plan:
        """Decide what it takes to follow `head`, and carry the position into its history.

        Args:
            head: where the shard stands.
            asked_at: our position when `head` was asked for; messages may have moved it since.
        """
        mine, there = self.position, head.position
        if mine is None and self.knows_nothing:
            # Whatever is loaded from now on is of this history, so nobody need wait until it is.
            self.reconciled = there
        new_era = mine is None or mine[:3] != there[:3]
        if mine is None or mine.nonce != there.nonce:
            self._must_compare = True
        elif new_era:
            self.release()
            lost_track = self._collect_lost(head, arrived=mine.era)
            survived = head.surviving(mine.rid, mine.era)
            self._must_compare |= lost_track or survived is None
            if survived is not None:
                self.position = mine._replace(seq=min(mine.seq, survived))
        elif asked_at is not None and asked_at[:3] == there[:3] and asked_at.seq > there.seq:
            self._must_compare = True  # behind us within one era: not a history that we know
        return Plan(full=self._must_compare, own=self.due, learned=self.learned, new_era=new_era)

    def on_feed(self, head: Head, records: Iterable[tuple[int, int, Sequence[Entry]]]) -> bool:
        """Apply records of the feed after the position; False at a hole: compare in full.

        Args:
            head: as read before the records.
            records: era, number and entries, in order.
        """
        for era, seq, entries in records:
            mine = self.position
            if era > head.position.era:
                break  # begun since `head` was read; the next look follows it
            if mine is not None and (era, seq) <= (mine.era, mine.seq):
                continue  # a message was faster
            rid = head.history(era)
            if mine is None or rid is None or not _continues(mine, era, seq, head):
                return False
            self._learn(entries)
            self.position = Position(mine.nonce, rid, era, seq)
            self._keep(self.position, entries, own=False)
        return True

    def arrive(self, head: Head) -> bool:
        """Whether the position has reached `head`; crosses into its era where it is still empty."""
        mine, there = self.position, head.position
        if mine is None:
            return False
        if mine.era != there.era and _continues(mine, there.era, 1, head):
            self.position = mine = there._replace(seq=0)
        return mine[:3] == there[:3] and mine.seq >= there.seq

    def on_full(self, head: Head) -> None:
        """A full comparison that began at `head` is over: both sides hold the union.

        Nothing is forgotten of a history that began since, for the next one may lose it again.
        """
        self.position = head.position
        self._must_compare = False
        there = head.position
        here = (there.rid, there.era)
        later = {era: seq for era, seq in self._floors.items() if era[1] > there.era}
        self._floors = later | {here: there.seq}
        self._ring.retain([kept for kept in self._ring if _comes_after(kept.at, there)])
        self._learned.clear()

    def counted_days(self, now: float) -> list[int]:
        """Days whose sets are to be counted, since their digests alone may not tell the truth.

        Those that we know of, and those that most tokens expire on: a starter knows of none.
        """
        first = int(now // DAY) - 1
        mine = {day for day in self.replica.digests() if day >= first}
        return sorted(mine | set(range(first, first + COUNTED_DAYS)))

    def differing_days(self, head: Head, now: float) -> list[int]:
        """Days that are not ours in Redis, among those of tokens that may still be accepted.

        Their digests differ, or the set has another size than its digest.
        """
        latest = max(now, head.server_now / 1_000_000)
        mine = self.replica.digests()
        return sorted(
            day
            for day in {*mine, *head.digests, *head.sizes}
            if (day + 1) * DAY + ACCEPTED_AFTER > latest
            and (
                (theirs := head.digests.get(day, DayDigest())) != mine.get(day, DayDigest())
                or head.sizes.get(day, theirs.size) != theirs.size
            )
        )

    def drop_past(self, now: float) -> bool:
        """Forget some of what no longer matters (`now` in Unix seconds); whether there is more."""
        if self.replica.drop_past(now):
            return True
        self._held_back &= self._dirty.keys()
        for waiting in (self._dirty, self._learned):
            for key in [key for key in waiting if (key[0] + 2) * DAY <= now]:
                del waiting[key]
        return False

    # --- what may be lost ---------------------------------------------------------------

    def _has_passed(self, position: Position) -> bool:
        """Whether it is of an era behind our own: what was read of that era's end is all of it."""
        mine = self.position
        return mine is not None and mine.nonce == position.nonce and position.era < mine.era

    def _owe_again(self, entries: Iterable[Entry], *, own: bool) -> None:
        """Have these published in our history: they came to another's end too late to be in it."""
        for entry in entries:
            _owe(self._dirty if own else self._learned, entry)

    def _learn(self, entries: Sequence[Entry]) -> None:
        days: dict[int, dict[bytes, int]] = {}
        for day, member, score, _ in entries:
            members = days.setdefault(day, {})
            if score > members.get(member, -1):
                members[member] = score
        if self._learned:
            for entry in entries:
                _settle(self._learned, entry)
        for day, members in days.items():
            self.replica.join(day, members)

    def _keep(self, at: Position, entries: Sequence[Entry], *, own: bool) -> None:
        for gone in self._ring.keep(at, entries, own=own) if entries else ():
            era = (gone.rid, gone.era)
            self._floors[era] = max(self._floors.get(era, 0), gone.seq)

    def _collect_lost(self, head: Head, *, arrived: int) -> bool:
        """Move what `head`'s history lost out of the ring; True where the ring cannot tell.

        What has survived stays until the position has arrived in a later era. From then on a
        history without that era is a foreign one; before, the next may yet end below it.
        """
        here = (head.position.rid, head.position.era)
        stay: list[Kept] = []
        for kept in self._ring:
            survived = head.surviving(kept.at.rid, kept.at.era)
            if (kept.at.rid, kept.at.era) == here:
                stay.append(kept)
            elif survived is None or kept.at.seq > survived:
                for entry in kept.entries:
                    _owe(self._dirty if kept.own else self._learned, entry)
            elif kept.at.era >= arrived:
                stay.append(kept)
        for entry in self._dirty.values():
            _settle(self._learned, entry)
        self._ring.retain(stay)
        forgotten = {era: seq for era, seq in self._floors.items() if era != here}
        self._floors = {
            era: seq for era, seq in self._floors.items() if era == here or era[1] >= arrived
        }
        return any(
            (survived := head.surviving(*era)) is None or seq > survived
            for era, seq in forgotten.items()
        )


def _owe(waiting: dict[Key, Entry], entry: Entry) -> None:
    key = (entry.day, entry.member)
    known = waiting.get(key)
    if known is None or known.score < entry.score:
        waiting[key] = entry


def _settle(waiting: dict[Key, Entry], entry: Entry) -> None:
    key = (entry.day, entry.member)
    known = waiting.get(key)
    if known is not None and known.score <= entry.score:
        del waiting[key]


def _comes_after(at: Position, there: Position) -> bool:
    """Whether a change is none of those that a comparison at `there` has seen."""
    if at[:3] == there[:3]:
        return at.seq > there.seq
    return at.nonce == there.nonce and at.era > there.era


def _continues(mine: Position, era: int, seq: int, head: Head) -> bool:
    """Whether record (era, seq) is the next one after `mine` in `head`'s history."""
    if era == mine.era:
        return seq == mine.seq + 1
    if era < mine.era or seq != 1:
        return False
    ended = [head.ends.get(passed, (b"", -1))[1] for passed in range(mine.era, era)]
    return ended[0] == mine.seq and not any(ended[1:])
