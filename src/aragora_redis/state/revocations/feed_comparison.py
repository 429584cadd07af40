"""Compares a shard's days with Redis in full: in the end both hold the union.

The script that joins keeps a digest beside each day's set, so equal digests mean equal sets, unless
something else than that script has changed one of them: an eviction, a hand, or a node whose clock
ran days ahead. That is found by counting, or by reading the set, and is put right in Redis before
anybody relies on it, see `_redigest`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from ...clock import Clock
from ...errors import OutageError
from ...events import Events, FullSync, MembersChanged
from ...operation import Operation
from ...tokens import operations
from ...tokens.entry import SUMS, DayDigest, Entry, fingerprint
from ...tokens.operations import ShardKeys
from ...tokens.replica import lacking
from ...tokens.shard import Head, Shard
from ..breathing import breathing
from .feed_clocks import FeedClocks

T = TypeVar("T")

LEASE_LIMIT = 5.0
"""Seconds that a comparison which cannot wait may wait for its lease: then the others go on."""


class Asks(Protocol):
    """Asks Redis one question of the feed."""

    def __call__(self, operation: Operation[T], /) -> Awaitable[T]: ...


class Publishes(Protocol):
    """Joins entries, and tells the shard where they stand."""

    def __call__(
        self, shard: Shard, entries: Iterable[Entry], /, *, own: bool
    ) -> Awaitable[None]: ...


class Comparison:
    """Compares, one shard at a time.

    Args:
        holder: this instance, for the leases.
    """

    def __init__(
        self,
        keys: Sequence[ShardKeys],
        clock: Clock,
        clocks: FeedClocks,
        events: Events,
        *,
        holder: str,
        ask: Asks,
        publish: Publishes,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._clocks = clocks
        self._events = events
        self._holder = holder
        self._ask = ask
        self._publish = publish
        # What both sides of one shard hold is in memory meanwhile, some 100 bytes an entry.
        self._alone = asyncio.Lock()

    async def compare(self, shard: Shard) -> None:
        """Compare what differs.

        Raises:
            OutageError: it could not be finished now.
        """
        if not await self.compare_if_free(shard, within=LEASE_LIMIT):
            raise OutageError(
                "revocations could not be compared with Redis: too many instances do so now, or "
                "the data moved, or was changed, meanwhile",
                remedy="nothing is to be done: they are compared again",
            )

    async def compare_if_free(self, shard: Shard, *, within: float = 0.0) -> bool:
        """Compare what differs, if anything; whether the two are one, else try again.

        A lease is waited for `within` seconds.
        """
        keys = self._keys[shard.index]
        head = await self._survey(shard)
        if not shard.differing_days(head, self._clock.wall()):
            shard.on_full(head)
            return True
        until = self._clock.monotonic() + within
        while True:
            async with self._alone:  # first, or the lease would lapse while others have their turn
                if await self._ask(operations.lease(keys, self._holder, take=True)):
                    try:
                        return await self._unite(shard)
                    finally:
                        await self._ask(operations.lease(keys, self._holder, take=False))
            if self._clock.monotonic() >= until:
                return False
            await asyncio.sleep(random.uniform(0.02, 0.2))

    async def _survey(self, shard: Shard) -> Head:
        counted = shard.counted_days(self._clock.wall())
        head = await self._ask(operations.survey(self._keys[shard.index], counted))
        self._clocks.demand_agreement(head)
        return head

    async def _unite(self, shard: Shard) -> bool:
        """Make both sides hold the union of both, day by day; False where it must begin anew."""
        started = self._clock.monotonic()
        pulled = pushed = 0
        one = True
        head = before = await self._survey(shard)
        days = shard.differing_days(head, self._clock.wall())
        mine = await _held_by(shard, days) if days else {}
        shard.replica.expect(sum(head.sizes.values()))
        for day in days:
            theirs, news = await self._pull(shard, day)
            pulled += news
            after = await self._survey(shard)
            since = await self._joined_between(shard, before, after)
            before = after
            if since is None or not _completed(theirs, day, since, after):
                one = False
                continue
            if await self._redigested(shard, day, theirs, after):
                one = False
            elif _digest(shard.replica.digests(), day) == _digest(after.digests, day):
                continue
            pushed += await self._push(shard, day, mine[day], theirs)
            before = await self._survey(shard)
        if one:
            shard.on_full(head)
        seconds = self._clock.monotonic() - started
        if pulled or pushed:
            self._events.emit(FullSync(shard.index, pulled, pushed, seconds))
        return one

    async def _pull(self, shard: Shard, day: int) -> tuple[dict[bytes, int], int]:
        """Read a day's set and take it in; the set, and how much of it was news."""
        found: dict[bytes, int] = {}
        news = 0
        cursor = b"0"
        while True:
            page = operations.scan_day(self._keys[shard.index], day, cursor)
            cursor, members = await self._ask(page)
            news += shard.replica.join(day, members)
            found |= members
            if cursor == b"0":
                return found, news

    async def _push(
        self, shard: Shard, day: int, mine: dict[bytes, int], theirs: dict[bytes, int]
    ) -> int:
        """Publish what a day's set in Redis lacks; how much it was."""
        missing = [Entry(day, *pair) async for pair in breathing(lacking(mine, theirs))]
        await self._publish(shard, missing, own=False)
        return len(missing)

    async def _joined_between(self, shard: Shard, before: Head, after: Head) -> list[Entry] | None:
        """What the feed has between two heads; None where it cannot tell."""
        if before.position[:3] != after.position[:3]:
            return None
        found: list[Entry] = []
        at, end = before.position, after.position.seq
        while at.seq < end:
            page = await self._ask(operations.feed_after(self._keys[shard.index], at))
            if not page:
                return None
            for era, seq, entries in page:
                if (era, seq) != (at.era, at.seq + 1):
                    return None
                at = at._replace(seq=seq)
                found += entries if seq <= end else ()
        return found

    async def _redigested(
        self, shard: Shard, day: int, theirs: dict[bytes, int], head: Head
    ) -> bool:
        """Whether a day's digest was not its set's; it is put right then.

        Left as it is, it would keep every starter waiting, or make one ready that lacks a part. The
        era that begins with it is a foreign history to all, so everybody compares in full, which
        brings back what is missing, and no starter is ready before all the others have.
        """
        stored = _digest(head.digests, day)
        if stored == _digest(shard.replica.digests(), day) and stored.size == len(theirs):
            return False
        true = await _digest_of(theirs)
        if true == stored:
            return False
        keys = self._keys[shard.index]
        if await self._ask(operations.redigest(keys, day, stored=stored, true=true)):
            self._events.emit(MembersChanged(shard.index, stored.size, true.size))
        return True


def _digest(digests: Mapping[int, DayDigest], day: int) -> DayDigest:
    return digests.get(day, DayDigest())


def _completed(theirs: dict[bytes, int], day: int, since: Sequence[Entry], after: Head) -> bool:
    """Add to a day's set what was joined while it was read; whether it is whole then.

    A cursor holds for the server that gave it: on another one it leaves members out.
    """
    for entry in since:
        if entry.day == day:
            theirs[entry.member] = max(theirs.get(entry.member, -1), entry.score)
    return len(theirs) == after.sizes.get(day, len(theirs))


async def _held_by(shard: Shard, days: Collection[int]) -> dict[int, dict[bytes, int]]:
    """What is known here of each of these days, found in one walk.

    What is taken in meanwhile is published on its own, or is in Redis already.
    """
    held: dict[int, dict[bytes, int]] = {day: {} for day in days}
    async for entry in breathing(shard.replica.entries()):
        if entry.day in held:
            held[entry.day][entry.member] = entry.score
    return held


async def _digest_of(members: dict[bytes, int]) -> DayDigest:
    total = 0
    async for member, score in breathing(members.items()):
        total += fingerprint(member, score)
    return DayDigest(len(members), total % SUMS)
