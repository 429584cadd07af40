"""`aragora-redis migrate verify`: whether the target of a migration holds what its source holds.

Each key of the source is looked at on both sides, and each of the target is looked for on the
source. Nothing is changed. Keys go through a page at a time, so memory is bounded however many.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from math import inf
from random import Random
from typing import NamedTuple, TypeVar

from ...clock import Clock
from ...errors import InvalidInputError, OutageError
from .compare import ComparisonReport, Counted, Findings, Look, What, compare
from .looking import PAGE, Looker
from .reading import agree, counterparts, samples
from .sites import Site, opened

T = TypeVar("T")

AT_ONCE = 2
"""Pages that are compared at once."""
LOOKS = 5
"""Looks at a key after the first, until it is held to differ."""
SUSPECTS = 10_000
"""Keys that wait to be looked at again. Once as many differ for sure, no more are waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    clock: Clock
    tolerance: float
    large: int
    sample: int
    again: float
    ignore: tuple[bytes, ...]
    on_progress: Callable[[Counted], None]
    deadline: float


async def verify(
    source: Site,
    target: Site,
    *,
    dbs: Sequence[int],
    clock: Clock,
    on_progress: Callable[[Counted], None],
    tolerance: float = 2.0,
    large: int = 10_000,
    sample: int = 200,
    limit: int = 100,
    again: float = 1.0,
    ignore: Sequence[str] = (),
    deadline: float = 20.0,
) -> ComparisonReport:
    """Compare both sides: presence, type, value and remaining time of every key.

    A key that differs is looked at again, so that writers that never stop, and what replicates
    them, do not show as differences. Where more than `SUSPECTS` differ for sure, the others are
    counted at the first look.

    Args:
        source: where the data was.
        target: where it should be.
        dbs: the databases.
        clock: ours.
        on_progress: gets how far it has come, after each page.
        tolerance: seconds by which remaining times may differ, beyond what asking took.
        large: elements (of a string, hundreds of bytes) above which samples are compared.
        sample: elements of a large value that are compared.
        limit: differences that are listed; all are counted.
        again: seconds until a key that differs is looked at again, at most `LOOKS` times.
        ignore: prefixes of keys that are not compared; bytes that are no UTF-8 as the system gives
            them in arguments.
        deadline: seconds for each round trip.

    Raises:
        InvalidInputError: a cluster has no database but 0; or all would be alike by such rules.
        OutageError: a side could not be asked; it says which, and what was done so far.
    """
    for site in (source, target):
        if site.clustered and any(dbs):
            raise InvalidInputError(f"{site.name} is a Redis Cluster, which has database 0 only")
    if not 0 <= tolerance < inf:
        raise InvalidInputError(
            f"{tolerance:g} is no number of seconds by which times to live may differ"
        )
    if "" in ignore:
        raise InvalidInputError("an empty prefix is that of every key: nothing would be compared")
    rules = _Rules(
        clock=clock,
        tolerance=tolerance,
        large=large,
        sample=sample,
        again=again,
        ignore=tuple(map(os.fsencode, ignore)),
        on_progress=on_progress,
        deadline=deadline,
    )
    tally = _Tally(limit, clock)
    try:
        for db in dbs:
            async with _opened(source, target, db, rules, tally) as pair:
                tally.total += await pair.size()
        for db in dbs:
            async with _opened(source, target, db, rules, tally) as pair:
                await pair.run()
    except OutageError as error:
        raise OutageError(
            f"{error.message}; {tally.done} of {tally.total} keys were looked at until then, "
            f"{tally.findings.total} of them differ for sure",
            remedy="nothing was changed; mend that, and verify again",
        ) from error
    return tally.report(rules.ignore)


class _Tally:
    """Counts what was done and found, in all databases."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self.findings = Findings(limit)
        self.total = self.source_keys = self.target_keys = 0
        self.ignored = self.compared = self.sampled = self.unreadable = 0
        self._clock = clock
        self._began = clock.monotonic()

    @property
    def done(self) -> int:
        return self.source_keys + self.target_keys

    def counted(self) -> Counted:
        took = max(self._clock.monotonic() - self._began, 0.001)
        return Counted(self.done, self.total, self.done / took)

    def report(self, ignore: tuple[bytes, ...]) -> ComparisonReport:
        return ComparisonReport(
            source_keys=self.source_keys,
            target_keys=self.target_keys,
            ignored=self.ignored,
            ignore=ignore,
            compared=self.compared,
            sampled=self.sampled,
            unreadable=self.unreadable,
            counts=dict(self.findings.counts),
            differences=tuple(self.findings.listed),
            seconds=self._clock.monotonic() - self._began,
        )


class _Suspect(NamedTuple):
    """A key that differed, and is looked at again."""

    due: float
    looks: int


@asynccontextmanager
async def _opened(
    source: Site, target: Site, db: int, rules: _Rules, tally: _Tally
) -> AsyncIterator[_Pair]:
    async with opened(source, db) as ours, opened(target, db) as theirs:
        one, other = (
            Looker(clients, rules.large, rules.clock, rules.deadline) for clients in (ours, theirs)
        )
        try:
            await _both(one.begin(), other.begin())
            yield _Pair(one, other, db, rules, tally)
        finally:
            one.end()
            other.end()


class _Pair:
    """Both sides of one database."""

    def __init__(
        self, source: Looker, target: Looker, db: int, rules: _Rules, tally: _Tally
    ) -> None:
        self._source = source
        self._target = target
        self._db = db
        self._rules = rules
        self._tally = tally
        self._random = Random()
        self._suspects: dict[bytes, _Suspect] = {}
        self._certain: set[bytes] = set()

    async def size(self) -> int:
        return sum(await _both(self._source.size(), self._target.size()))

    async def run(self) -> None:
        await _spread(self._patiently(self._source.pages()), self._compare)
        await _spread(self._patiently(self._target.pages()), self._search)
        await self._settle(0)

    async def _compare(self, page: list[bytes]) -> None:
        """Look at keys of the source on both sides."""
        keys = self._heeded(page)
        for key, ours, theirs in await self._look(keys):
            what = await self._judge(key, ours, theirs)
            if what is not None:
                self._suspect(key, what, 1)
            self._tally.sampled += ours.large
            self._tally.unreadable += ours.unreadable
        self._tally.compared += len(keys)
        self._tally.source_keys += len(page)
        self._rules.on_progress(self._tally.counted())

    async def _search(self, page: list[bytes]) -> None:
        """Look for keys of the target that the source lacks."""
        for key in await self._source.absent(self._heeded(page)):
            self._suspect(key, What.EXTRA, 1)
        self._tally.target_keys += len(page)
        self._rules.on_progress(self._tally.counted())

    def _heeded(self, page: list[bytes]) -> list[bytes]:
        keys = [key for key in page if not key.startswith(self._rules.ignore)]
        self._tally.ignored += len(page) - len(keys)
        return keys

    async def _look(self, keys: list[bytes]) -> list[tuple[bytes, Look, Look]]:
        ours, theirs = await _both(self._source.look(keys), self._target.look(keys))
        return [(key, ours[key], theirs[key]) for key in keys]

    async def _judge(self, key: bytes, ours: Look, theirs: Look) -> What | None:
        what = compare(ours, theirs, self._rules.tolerance)
        if what is None and ours.large and not await self._samples_agree(key, ours):
            return What.VALUE
        return what

    async def _samples_agree(self, key: bytes, look: Look) -> bool:
        asked = samples(key, look.kind, look.size, self._rules.sample, self._random)
        replies = await self._source.ask(key, asked)
        if replies is None:
            return False
        answers = await self._target.ask(key, counterparts(key, look.kind, asked, replies))
        return answers is not None and agree(look.kind, replies, answers)

    def _suspect(self, key: bytes, what: What, looks: int) -> None:
        if key in self._certain:
            return
        if looks <= LOOKS and len(self._certain) < SUSPECTS:
            due = self._rules.clock.monotonic() + self._rules.again
            self._suspects[key] = _Suspect(due, looks)
            return
        self._tally.findings.add(self._db, key, what)
        if len(self._certain) < SUSPECTS:
            self._certain.add(key)

    async def _patiently(self, pages: AsyncIterator[list[bytes]]) -> AsyncIterator[list[bytes]]:
        """The pages, and between them another look at suspects whose time has come."""
        async for page in pages:
            yield page
            await self._settle(SUSPECTS)

    async def _settle(self, at_most: int) -> None:
        """Look again at those that are due, and until no more than so many are left."""
        while self._suspects:
            now = self._rules.clock.monotonic()
            if due := self._due(now):
                await self._look_again(due)
            elif len(self._suspects) > at_most:
                first = next(iter(self._suspects.values()))
                await asyncio.sleep(first.due - now)
            else:
                return

    def _due(self, now: float) -> dict[bytes, _Suspect]:
        items = takewhile(lambda item: item[1].due <= now, self._suspects.items())
        return dict(islice(items, PAGE))

    async def _look_again(self, due: dict[bytes, _Suspect]) -> None:
        for key, ours, theirs in await self._look(list(due)):
            del self._suspects[key]
            what = await self._judge(key, ours, theirs)
            if what is not None:
                self._suspect(key, what, due[key].looks + 1)


async def _both(one: Awaitable[T], other: Awaitable[T]) -> tuple[T, T]:
    """Both results, once both are there; the first's error, or the second's."""
    ours, theirs = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(ours, BaseException):
        raise ours
    if isinstance(theirs, BaseException):
        raise theirs
    return ours, theirs


async def _spread(
    pages: AsyncIterator[list[bytes]], act: Callable[[list[bytes]], Awaitable[None]]
) -> None:
    """Act on all pages, on `AT_ONCE` of them at a time."""
    running: set[asyncio.Task[None]] = set()
    try:
        async for page in pages:
            if len(running) >= AT_ONCE:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
            running.add(asyncio.ensure_future(act(page)))
        for each in running:
            await each
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
