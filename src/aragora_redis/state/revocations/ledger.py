"""The revocations as whoever keeps them has them: counted, listed, looked up, read out in pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Struct

from ...errors import OutageError
from ...operation import Operation, Runs
from ...tokens import operations
from ...tokens.entry import DAY, SHARDS, Entry
from ...tokens.listing import Place
from ...tokens.operations import SCAN_PAGE, ShardKeys
from ...tokens.pardon import Pardons
from ...tokens.refresh import GENERATIONS
from ...tokens.shard import Shard

T = TypeVar("T")

ASK_LIMIT = 1.0
"""Seconds that one question may take."""
AT_ONCE = 256
"""Questions that are asked at once: the queue to Redis has an end."""


class Held(NamedTuple):
    """Where a member stands: its day and its score."""

    day: int
    score: int


class Page(Struct, frozen=True):
    """Some revocations with their notes, how many are kept, and whether others follow these.

    Those of today that are over by now are counted too; what refresh tokens left behind is not.
    """

    total: int
    shown: tuple[Entry, ...]
    more: bool


class Ledger(Protocol):
    """What can be asked of revocations, wherever they are kept."""

    async def days(self) -> dict[int, dict[int, int]]:
        """For each shard how many members each of its days has, of those that are not over.

        Raises:
            OutageError, OutcomeUnknownError: the primary cannot be asked; so for all that is asked.
        """

    async def held(self, members: Iterable[bytes]) -> dict[bytes, tuple[Held, ...]]:
        """Under which days and scores these are revoked, the greatest score last."""

    async def count(self) -> int:
        """How many are kept, as a page has it."""

    async def first(self, limit: int, after: Place | None = None) -> Page:
        """Up to `limit` entries that matter, in the order of their places, after one."""

    async def pardoned(self, entries: Sequence[Entry], pardons: Pardons) -> list[bool]:
        """Of each entry whether it was pardoned."""

    def pages(self) -> AsyncIterator[list[Entry]]:
        """All entries with their notes, a page at a time. One may come twice."""


class RedisLedger:
    """The revocations as the primary has them.

    Args:
        runs: the way to it.
        keys: of each shard.
        server_now: its clock in Unix seconds.
    """

    def __init__(
        self, runs: Runs, keys: Sequence[ShardKeys], server_now: Callable[[], float]
    ) -> None:
        self._runs = runs
        self._keys = keys
        self._now = server_now

    async def days(self) -> dict[int, dict[int, int]]:
        """See `Ledger.days`."""
        today = int(self._now() // DAY)
        standings = await self._ask_all([operations.standing(each) for each in self._keys])
        used = [shard for shard, standing in enumerate(standings) if standing is not None]
        heads = await self._ask_all([operations.survey(self._keys[shard]) for shard in used])
        return {
            shard: {day: digest.size for day, digest in head.digests.items() if day >= today}
            for shard, head in zip(used, heads, strict=True)
        }

    async def held(self, members: Iterable[bytes]) -> dict[bytes, tuple[Held, ...]]:
        """See `Ledger.held`."""
        days = await self.days()
        asked = [
            (member, day)
            for member in dict.fromkeys(members)
            for day in days.get(member[0] % SHARDS, ())
        ]
        scores = await self._ask_all(
            [operations.score_of(self._of(member), day, member) for member, day in asked]
        )
        found: dict[bytes, tuple[Held, ...]] = {}
        for (member, day), score in zip(asked, scores, strict=True):
            if score is not None:
                found[member] = (*found.get(member, ()), Held(day, score))
        return {member: tuple(sorted(each, key=_score)) for member, each in found.items()}

    async def count(self) -> int:
        """See `Ledger.count`."""
        return await self._total(await self.days())

    async def first(self, limit: int, after: Place | None = None) -> Page:
        """See `Ledger.first`."""
        days = await self.days()
        rows: list[Entry] = []
        for day in sorted({day for sizes in days.values() for day in sizes}):
            if after is None or day >= after.day:
                holding = [shard for shard, sizes in days.items() if day in sizes]
                rows += await self._of_day(day, holding, limit + 1, after)
            if len(rows) > limit:
                break
        shown = tuple(await self._noted(rows[:limit]))
        return Page(await self._total(days), shown, len(rows) > limit)

    async def _total(self, days: dict[int, dict[int, int]]) -> int:
        used_up = await self._ask_all(
            [
                operations.count_of_day(self._keys[shard], day, 0, GENERATIONS - 1)
                for shard, sizes in days.items()
                for day in sizes
            ]
        )
        return sum(size for sizes in days.values() for size in sizes.values()) - sum(used_up)

    async def pardoned(self, entries: Sequence[Entry], pardons: Pardons) -> list[bool]:
        """See `Ledger.pardoned`."""
        if not pardons.heeded:
            return [False] * len(entries)
        members = [pardons.member(each.member, each.score) or b"" for each in entries]
        scores = await self._ask_all(
            [
                operations.score_of(self._of(each.member), each.day, member)
                for each, member in zip(entries, members, strict=True)
            ]
        )
        return [score is not None for score in scores]

    async def pages(self) -> AsyncIterator[list[Entry]]:
        """See `Ledger.pages`.

        Raises:
            OutageError: a failover has come between the pages; begin again.
        """
        for shard, sizes in (await self.days()).items():
            before = await self._history(shard)
            for day, size in sizes.items():
                async for page in self._scanned(shard, day, size):
                    yield page
            if await self._history(shard) != before:
                raise _moved()

    async def _history(self, shard: int) -> tuple[bytes, bytes, int] | None:
        position = await self._ask(operations.standing(self._keys[shard]))
        return position and position[:3]

    async def _scanned(self, shard: int, day: int, size: int) -> AsyncIterator[list[Entry]]:
        keys = self._keys[shard]
        cursor, seen = b"0", set[bytes]()
        while True:
            cursor, found = await self._ask(operations.scan_day(keys, day, cursor))
            news = found.keys() - seen
            seen |= news
            if news:
                yield await self._noted([Entry(day, member, found[member]) for member in news])
            if cursor == b"0":
                break
        if len(seen) < size:
            raise _moved()

    async def _of_day(
        self, day: int, shards: list[int], count: int, after: Place | None
    ) -> list[Entry]:
        """What ends first on a day after a place; of today only what is not over."""
        now = int(self._now() * 1000)
        begins = day * DAY * 1000
        # What has a score of an earlier day is a cut-off, which is kept for longer.
        spans = [(GENERATIONS, begins - 1), (max(begins, now), 2**53)]
        pages = await asyncio.gather(
            *(
                self._of_span(shard, day, (low, high), count, after)
                for shard in shards
                for low, high in spans
            )
        )
        return sorted((entry for page in pages for entry in page), key=Place.of)

    async def _of_span(
        self, shard: int, day: int, span: tuple[int, int], count: int, after: Place | None
    ) -> list[Entry]:
        low, high = span
        if after is not None and after.day == day:
            low = max(low, after.score)
        found: list[Entry] = []
        seen = 0
        while len(found) < count:  # many may have the score of the place, and lie before it
            page = await self._ask(
                operations.first_of_day(self._keys[shard], day, low, high, count, skip=seen)
            )
            entries = (Entry(day, member, score) for member, score in page.items())
            found += [each for each in entries if after is None or Place.of(each) > after]
            seen += len(page)
            if len(page) < count:
                break
        return found

    async def _noted(self, entries: list[Entry]) -> list[Entry]:
        notes = await self._ask_all(
            [operations.note_of(self._of(each.member), each.day, each.member) for each in entries]
        )
        pairs = zip(entries, notes, strict=True)
        return [entry._replace(note=note) if note else entry for entry, note in pairs]

    def _of(self, member: bytes) -> ShardKeys:
        return self._keys[member[0] % SHARDS]

    async def _ask(self, operation: Operation[T]) -> T:
        return await self._runs.run(operation, within=ASK_LIMIT)

    async def _ask_all(self, asked: Sequence[Operation[T]]) -> list[T]:
        found: list[T] = []
        for start in range(0, len(asked), AT_ONCE):
            page = asked[start : start + AT_ONCE]
            found += await asyncio.gather(*(self._ask(operation) for operation in page))
        return found


class MemoryLedger:
    """The revocations of this process, where that is all there is.

    Args:
        shards: what is revoked.
        notes: why, by member.
        now: Unix seconds.
    """

    def __init__(
        self, shards: Sequence[Shard], notes: dict[bytes, str], now: Callable[[], float]
    ) -> None:
        self._shards = shards
        self._notes = notes
        self._now = now

    async def days(self) -> dict[int, dict[int, int]]:
        """See `Ledger.days`."""
        today = int(self._now() // DAY)
        return {
            shard.index: {
                day: digest.size for day, digest in shard.replica.digests().items() if day >= today
            }
            for shard in self._shards
        }

    async def held(self, members: Iterable[bytes]) -> dict[bytes, tuple[Held, ...]]:
        """See `Ledger.held`."""
        found = {}
        for member in members:
            entries = self._shards[member[0] % SHARDS].replica.entries_of(member)
            if entries:
                each = (Held(entry.day, entry.score) for entry in entries)
                found[member] = tuple(sorted(each, key=_score))
        return found

    async def count(self) -> int:
        """See `Ledger.count`."""
        return sum(1 for entry in self._entries() if entry.score >= GENERATIONS)

    async def first(self, limit: int, after: Place | None = None) -> Page:
        """See `Ledger.first`."""
        now = self._now() * 1000
        rows = [
            entry
            for entry in self._entries()
            if entry.score >= GENERATIONS
            and (entry.day * DAY * 1000 > entry.score or entry.score >= now)
            and (after is None or Place.of(entry) > after)
        ]
        rows.sort(key=Place.of)
        return Page(await self.count(), tuple(rows[:limit]), len(rows) > limit)

    async def pardoned(self, entries: Sequence[Entry], pardons: Pardons) -> list[bool]:
        """See `Ledger.pardoned`."""
        return [
            pardons.member(each.member, each.score) in self._shards[each.shard].replica.pardons
            for each in entries
        ]

    async def pages(self) -> AsyncIterator[list[Entry]]:
        """See `Ledger.pages`."""
        page: list[Entry] = []
        for entry in self._entries():
            page.append(entry)
            if len(page) == SCAN_PAGE:
                yield page
                page = []
        if page:
            yield page

    def _entries(self) -> Iterator[Entry]:
        today = int(self._now() // DAY)
        for shard in self._shards:
            for entry in shard.replica.entries_from(today):
                yield entry._replace(note=self._notes.get(entry.member, ""))


def _score(held: Held | Entry) -> int:
    return held.score


def _moved() -> OutageError:
    """A cursor holds for the server that gave it; another one leaves members out, or says twice."""
    return OutageError("the data moved to another server while it was read", remedy="begin again")
