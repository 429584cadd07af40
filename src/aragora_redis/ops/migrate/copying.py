"""Copy one side to another that is no replica of it, while it is written, and cut over.

    subscribe -> full pass (SCAN, DUMP, RESTORE) -> what changed meanwhile, until it is little
    -> writes are held -> the rest -> proof -> guard on the source -> writes go on, and are refused

Why nothing is lost. Let a key change last at `t`, before writes are held. If that is before the
full pass began, SCAN meets the key, for it is there all the time, and DUMP reads it later than `t`;
if it is not there, the sweep removes it. Otherwise the source told of the change on a connection
that was open then, and the answer to a PING that follows the pause comes behind it: by then the key
is dirty, or was copied after `t` (`changes.py`). A key is copied by two at a time only where SCAN
gives it twice; then the older value may come last, but both differ only by a change in between,
which makes the key dirty. What breaks these premises (a lost connection, a restart or a failover of
either side, FLUSHALL, too many dirty keys) is seen by the feed or by a mark, at the latest while
writes are held, and everything is read once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

from ...clock import SYSTEM_CLOCK, Clock
from ...errors import InvalidInputError
from ..commands import to_the_end
from .calls import CopyError
from .changes import Dirty, Key
from .following import Following
from .guard import Guard, lift_guard, raise_guard
from .pair import Pair
from .pausing import miscounted, part_with_clients, pause, unpause, unreplicated
from .sites import Site
from .transfer import Transfer

T = TypeVar("T")

_SHARE: Final = 0.8
"""Of a pause, in which everything must be done; the rest is for the last words."""
_KEEP_ALIVE: Final = 15.0
"""Seconds after which a connection that hears nothing is used, so that nobody closes it."""


class Step(StrEnum):
    """What is being done."""

    SWEEP = "sweep"
    FULL = "full-pass"
    CATCH_UP = "catch-up"
    CUT_OVER = "cut-over"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step has come: keys done, and of how many, about."""

    step: Step
    keys: int
    of: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a copy may take.

    Attributes:
        page: keys that are carried at a time.
        lot: bytes that are carried at a time; a larger value is carried alone.
        in_flight: pages at a time.
        dirty_keys: that are kept in mind; beyond it everything is read once more.
        dirty_bytes: of their names.
        little: keys that may be left for the pause.
        pause: seconds for which writes are held at most.
        attempts: pauses at most.
        passes: full passes in a row, at most, that were in vain.
        deadline: seconds that a server has for an answer, and more for large values.
    """

    page: int = 500
    lot: int = 4 << 20
    in_flight: int = 4
    dirty_keys: int = 1_000_000
    dirty_bytes: int = 256 << 20
    little: int = 1000
    pause: float = 5.0
    attempts: int = 5
    passes: int = 3
    deadline: float = 10.0


@dataclass(frozen=True, slots=True)
class Cutover:
    """The target has everything.

    Attributes:
        pause: seconds for which writes were held; None where they had been stopped before.
        keys: carried meanwhile.
        guard: what keeps writes from the source now.
        attempts: pauses that were needed.
        skipped: how many keys could not be carried, those of modules.
    """

    pause: float | None
    keys: int
    guard: Guard
    attempts: int
    skipped: int


class _UnfitError(Exception):
    """This pause was in vain; another may do."""


class Copy:
    """Copies databases of a source to a target, which has nothing else in them.

    Call `prepare`, `full_pass`, `catch_up` and `cut_over` in this order, one at a time, and always
    `close`. After a `CopyError` begin anew with another `Copy` and the state of this one.
    """

    def __init__(
        self,
        source: Site,
        target: Site,
        *,
        dbs: Iterable[int] = (0,),
        clock: Clock = SYSTEM_CLOCK,
        remember: Callable[[dict[str, Any]], None] = lambda _state: None,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
        resume: Mapping[str, Any] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Nothing is done yet.

        Args:
            source: what is copied.
            target: what is to be equal. Its keys that the source has not are removed.
            dbs: which databases; a cluster has 0 alone.
            clock: for the pause.
            remember: is given the state before anything is changed that is to be given back, and
                when it was; once it returns, the state must outlive this process.
            on_progress: told how far it is.
            resume: the state that an earlier run has left.
            bounds: see there.

        Raises:
            InvalidInputError: a side has not these databases.
        """
        wanted = tuple(dict.fromkeys(dbs))
        if not wanted or ((source.clustered or target.clustered) and wanted != (0,)):
            raise InvalidInputError(
                "a Redis Cluster has database 0 alone, and at least one is copied"
            )
        self._clock = clock
        self._remember = remember
        self._on_progress = on_progress
        self._bounds = bounds or Bounds()
        left = resume or {}
        self._notify: dict[str, list[str]] = dict(left.get("notify", {}))
        self._guard: dict[str, Any] = dict(left.get("guard", {}))
        self._pair = Pair(source, target, wanted, self._bounds.deadline)
        dirty = Dirty(keys=self._bounds.dirty_keys, size=self._bounds.dirty_bytes)
        self._following = Following(self._pair, dirty, self._notify, self._note)
        self._dirty = dirty
        self._transfer = Transfer(self._pair, lot=self._bounds.lot, page=self._bounds.page)
        self._heard_at = 0.0

    @property
    def silent(self) -> str | None:
        """Why nobody tells of changes, so that only full passes help; None where it is told."""
        return self._following.silent

    @property
    def skipped(self) -> frozenset[Key]:
        """Keys that cannot be carried: of modules that cannot dump, or that the target lacks."""
        return frozenset(self._transfer.skipped)

    def state(self) -> dict[str, Any]:
        """What was changed in servers and what it was before, as JSON without secrets.

        `notify` by server as `[before, ours]`, which `close` gives back, and `guard`, which
        `lift_guard` does.
        """
        return {"notify": dict(self._notify), "guard": dict(self._guard)}

    async def prepare(self) -> None:
        """Connect, have the source tell of changes where it lets us, and listen.

        Raises:
            CopyError: a server does not answer, or is no primary.
        """
        await self._pair.open()
        await self._transfer.prepare()
        await self._following.prepare()

    async def full_pass(self) -> None:
        """Copy all keys, and remove from the target what the source has not.

        Raises:
            CopyError: a side fails; the target has part.
        """
        pair, transfer = self._pair, self._transfer
        await self._following.begin()
        transfer.grouped.clear()
        await transfer.functions()
        there, here = await pair.counts(pair.target), await pair.counts(pair.source)
        for db in pair.dbs:
            keys = transfer.pages(pair.target[db])
            await self._all(Step.SWEEP, keys, partial(transfer.sweep, db), there[db].keys)
            keys = transfer.pages(pair.source[db])
            await self._all(Step.FULL, keys, partial(transfer.copy, db), here[db].keys)

    async def catch_up(self) -> int:
        """Copy what changed, until little is left or it gets no less; returns how many keys are.

        Where it is not known what changed, everything is read again. Where nobody tells of changes
        (`silent`) that is done once, and 0 does not mean that nothing changed since.

        Raises:
            CopyError: a side fails, or the changes are too many to follow.
        """
        for _ in range(self._bounds.passes + 1):
            before: int | None = None
            while await self._following.known():
                left = len(self._dirty)
                if left <= self._bounds.little or (before is not None and left > 0.9 * before):
                    return left
                before = left
                await self._round(Step.CATCH_UP)
            why = self._dirty.everything
            await self.full_pass()
            if self.silent is not None:
                return 0
        raise CopyError(
            f"{self._bounds.passes} full passes were in vain: {why}",
            remedy="migrate while less is changed, or allow for more (Bounds.dirty_keys), and have "
            "nobody flush the source meanwhile",
        )

    async def cut_over(
        self, *, writers_stopped: bool = False, on_moved: Callable[[], None] = lambda: None
    ) -> Cutover:
        """Hold writes, copy the rest, prove that both are equal, and have the source refuse writes.

        After a failure writes go on at the source.

        Args:
            writers_stopped: nobody writes to the source any more, and nothing is paused. Needed
                where CLIENT PAUSE WRITE (6.2) is forbidden, or nobody tells of changes and there is
                more than can be read while writes are held.
            on_moved: called once it is proven and the guard stands, before the pause ends, so that
                it is written down before a writer turns to the target. If it raises, writes go on
                at the source.

        Raises:
            CopyError: it could not be done, and why.
        """
        why = ""
        attempts = 1 if writers_stopped else self._bounds.attempts
        for attempt in range(1, attempts + 1):
            if self.silent is None:
                await self.catch_up()
                await self._recheck()
            began = self._clock.monotonic()
            try:
                keys, guard = await self._attempt(on_moved, paused=not writers_stopped)
            except _UnfitError as error:
                why = str(error)
                continue
            took = None if writers_stopped else self._clock.monotonic() - began
            return Cutover(took, keys, guard, attempt, len(self._transfer.skipped))
        raise CopyError(
            f"{self._pair.sites[0].name} could not be left in {attempts} attempts: {why}; "
            "it takes writes as before",
            remedy="make sure that nobody writes to it, and cut over again"
            if writers_stopped
            else "cut over while less is written, or stop the writers and cut over then",
        )

    async def close(self) -> None:
        """Give notify-keyspace-events back, and end all connections. A guard stays.

        What cannot be given back stays in the state.
        """
        try:
            await self._following.close()
        finally:
            await self._pair.close()

    async def _attempt(self, on_moved: Callable[[], None], *, paused: bool) -> tuple[int, Guard]:
        """One pause; how many keys were carried in it, and the guard.

        Raises:
            _UnfitError: it was in vain, and was ended.
        """
        limit = self._bounds.pause * _SHARE if paused else None
        clients = self._pair.source[self._pair.dbs[0]]
        try:
            async with asyncio.timeout(limit):
                if paused:
                    await pause(self._pair, self._bounds.pause)
                keys = await self._rest()
                guard = await raise_guard(
                    clients, self._guard, self._note, seconds=self._bounds.deadline
                )
                await self._prove()
                on_moved()
        except TimeoutError as error:
            await to_the_end(self._let_go(paused=paused))
            raise _UnfitError(f"the rest took longer than {limit:g} s") from error
        except BaseException:
            await to_the_end(self._let_go(paused=paused))
            raise
        if paused:
            await unpause(self._pair)
        if guard is not Guard.NONE:
            await part_with_clients(clients, self._bounds.deadline)
        return keys, guard

    async def _let_go(self, *, paused: bool) -> None:
        """Have the source take writes as before."""
        if self._guard:
            await lift_guard(self._pair.sites[0], self._guard, self._note)
        if paused:
            await unpause(self._pair)

    async def _rest(self) -> int:
        """Copy what is left, and compare; how many keys it was.

        Raises:
            _UnfitError: they are not.
        """
        if self.silent is not None:
            await self.full_pass()
            keys = sum(each.keys for each in (await self._pair.counts(self._pair.source)).values())
        elif not await self._following.known():
            raise _UnfitError(str(self._dirty.everything))
        else:
            keys = await self._round(Step.CUT_OVER) + await self._recheck()
            await self._transfer.functions()
        skipped = Counter(db for db, _ in self._transfer.skipped)
        if (why := await miscounted(self._pair, skipped)) is not None:
            self._dirty.lose(why)
            raise _UnfitError(why)
        if (why := await unreplicated(self._pair, self._bounds.pause * _SHARE / 2)) is not None:
            raise _UnfitError(why)
        return keys

    async def _prove(self) -> None:
        """Have it shown that nothing came between the rest and the guard.

        Raises:
            _UnfitError: something did.
            CopyError: it holds a database that is not copied.
        """
        if unforeseen := await self._pair.unforeseen():
            raise CopyError(
                f"database {unforeseen[0]} came into use meanwhile; writes go on at "
                f"{self._pair.sites[0].name}",
                remedy="run this again: it copies all that are in use when it begins",
            )
        if self.silent is not None:
            why = await self._following.breach()
        # The guard may have been set by CONFIG.
        elif not await self._following.known(settings=False):
            why = self._dirty.everything
        else:
            why = "it was still written" if len(self._dirty) or await self._recheck() else None
        if why is not None:
            raise _UnfitError(why)

    async def _round(self, step: Step) -> int:
        """Copy what is dirty now; how many keys that is."""
        taken = self._dirty.take()
        try:
            for db in self._pair.dbs:
                keys = [key for place, key in taken if place == db]
                copy = partial(self._transfer.copy, db)
                await self._all(step, _lots(keys, self._bounds.page), copy, len(taken))
        except BaseException:
            self._dirty.give_back(taken)
            raise
        return len(taken)

    async def _recheck(self) -> int:
        """Copy streams again on which consumer groups acted; how many they were."""
        changed = 0

        async def look(keys: list[Key]) -> None:
            nonlocal changed
            changed += await self._transfer.recheck(keys)

        known = list(self._transfer.grouped)
        await self._all(Step.CATCH_UP, _lots(known, self._bounds.page), look, len(known))
        return changed

    async def _all(
        self,
        step: Step,
        lots: AsyncGenerator[list[T], None],
        act: Callable[[list[T]], Awaitable[None]],
        of: int,
    ) -> None:
        """Act on lots of keys, several at a time."""
        done = 0
        free = asyncio.Semaphore(self._bounds.in_flight)

        async def one(lot: list[T]) -> None:
            nonlocal done
            await act(lot)
            free.release()
            done += len(lot)
            self._on_progress(Progress(step, done, of))
            if self._clock.monotonic() - self._heard_at > _KEEP_ALIVE:
                self._heard_at = self._clock.monotonic()
                await self._following.settle()

        try:
            async with contextlib.aclosing(lots), asyncio.TaskGroup() as group:
                async for lot in lots:
                    await free.acquire()
                    group.create_task(one(lot))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _note(self) -> None:
        self._remember(self.state())


async def _lots(keys: Sequence[T], size: int) -> AsyncGenerator[list[T], None]:
    for first in range(0, len(keys), size):
        yield list(keys[first : first + size])
