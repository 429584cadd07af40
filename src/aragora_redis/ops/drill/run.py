"""`aragora-redis drill`: make a fault while two writers write, and measure what that does."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ...errors import LabError
from ...settings import Settings
from ..access import connected
from ..asking import survey
from ..doctor import examine
from ..report import Status
from ..survey import Survey
from ..targets import SentinelTarget
from .canaries import Flock, canaries
from .measures import OURS, PEER, Objectives, judge
from .observer import Observer
from .records import Records
from .report import DrillReport
from .scenarios import Actor, Scenario

BASELINE = 2.0
"""Seconds of writing before the fault, and after everything is well again."""
START_LIMIT = 10.0
SWITCH_LIMIT = 60.0
WELL_LIMIT = 60.0
LOOK_EVERY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a drill is done.

    Attributes:
        hold: seconds for which the fault lasts once another primary was named.
        force: although the preflight finds an outage.
        deadline: seconds that a server has for its answers.
    """

    objectives: Objectives
    hold: float = 2.0
    force: bool = False
    deadline: float = 1.0


async def run_drill(
    settings: Settings,
    target: SentinelTarget,
    scenario: Scenario,
    actor: Actor,
    *,
    terms: Terms,
    clock: Clock,
    on_step: Callable[[str], None] = lambda _step: None,
) -> DrillReport:
    """Do it.

    Whatever happens, the fault is mended, the writers end, and what they wrote is removed.

    Args:
        settings: of the deployment.
        target: the same, as servers.
        scenario: which fault.
        actor: who makes it.
        terms: how.
        clock: for all that is measured.
        on_step: told what is going on.
    """
    drill = _Drill(settings, target, scenario, terms, clock=clock, on_step=on_step)
    on_step("asking all servers whether they are well")
    reasons = await drill.reasons_against()
    if reasons and not terms.force:
        return DrillReport(scenario, terms.objectives, refused=reasons)
    try:
        await drill.run(actor)
    except LabError as error:
        return DrillReport(scenario, terms.objectives, refused=(str(error),))
    return DrillReport(
        scenario,
        terms.objectives,
        judge(drill.records, terms.objectives),
        drill.records,
        notes=tuple(drill.notes),
    )


class _Drill:
    def __init__(
        self,
        settings: Settings,
        target: SentinelTarget,
        scenario: Scenario,
        terms: Terms,
        *,
        clock: Clock,
        on_step: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._target = target
        self._scenario = scenario
        self._terms = terms
        self._clock = clock
        self._on_step = on_step
        self._began = clock.monotonic()
        run = f"{settings.prefix}:drill:{secrets.token_hex(4)}"
        self._keys = {OURS: f"{run}:ours".encode(), PEER: f"{run}:peer".encode()}
        self.records = Records()
        self.notes: list[str] = []

    def _now(self) -> float:
        return self._clock.monotonic() - self._began

    async def reasons_against(self) -> tuple[str, ...]:
        """What is an outage already."""
        found = examine(await self._survey()).diagnoses
        return tuple(each.headline for each in found if each.status is Status.CRITICAL)

    async def run(self, actor: Actor) -> None:
        records = self.records
        old = (await self._survey()).primary
        async with self._observed(), self._written() as flock:
            self._on_step("writing, so that there is something to compare with")
            if not await self._until(lambda: _writing(flock, self._now), START_LIMIT):
                raise LabError("nothing can be written", remedy="see aragora-redis doctor")
            await asyncio.sleep(BASELINE)
            self._on_step(f"{self._scenario}: now")
            records.fault_at = self._now()
            try:
                await actor.begin()
                if self._scenario.replaces:
                    await self._wait_for_switch(old)
                await asyncio.sleep(self._terms.hold)
            finally:
                self._on_step("mending it")
                await actor.end()
                records.mended_at = self._now()
            self._on_step("waiting until all is well again")
            if not await self._until(lambda: self._well(flock), WELL_LIMIT):
                self.notes.append(f"not all is well again after {WELL_LIMIT:.0f} s: see doctor")
            await asyncio.sleep(BASELINE)

    async def _wait_for_switch(self, old: Address | None) -> None:
        async def switched() -> bool:
            primary = (await self._survey()).primary
            return primary is not None and primary != old

        if not await self._until(switched, SWITCH_LIMIT):
            self.notes.append(f"nobody has replaced {old} within {SWITCH_LIMIT:.0f} s")

    async def _well(self, flock: Flock) -> bool:
        mended = self.records.mended_at
        return flock.acknowledged_since(OURS, mended) and not await self.reasons_against()

    async def _survey(self) -> Survey:
        return await survey(
            self._target,
            prefix=self._settings.prefix,
            clock=self._clock,
            deadline=self._terms.deadline,
        )

    @asynccontextmanager
    async def _observed(self) -> AsyncIterator[None]:
        observer = Observer(self._target, self._now)
        observer.start()
        try:
            yield
        finally:
            await observer.stop()
            self.records.announcements = observer.announcements

    @asynccontextmanager
    async def _written(self) -> AsyncIterator[Flock]:
        """Within, both write; at the end it is known what is left, and removed."""
        made = canaries(self._settings, self._target, self._clock, self._keys)
        flock = Flock(made, self._now)
        await flock.start()
        try:
            yield flock
        finally:
            self.records.ended_at = self._now()
            await flock.stop()
            self.records.writes = flock.writes
            self.records.errors = {name: dict(each.errors) for name, each in made.items()}
            await self._collect()

    async def _collect(self) -> None:
        primary = (await self._survey()).primary
        if primary is None:
            self.notes.append("no primary is left to be asked what survived")
            return
        try:
            async with (
                asyncio.timeout(START_LIMIT),
                connected(primary, self._target.redis) as client,
            ):
                for name, key in self._keys.items():
                    found = await client.smembers(key)
                    self.records.survivors[name] = {int(number) for number in found}
                await client.unlink(*self._keys.values())
        except (RedisError, OSError, TimeoutError) as error:
            self.notes.append(f"{primary} does not tell what survived: {error}")

    async def _until(self, reached: Callable[[], Awaitable[bool]], limit: float) -> bool:
        end = self._clock.monotonic() + limit
        while not await reached():
            if self._clock.monotonic() > end:
                return False
            await asyncio.sleep(LOOK_EVERY)
        return True


async def _writing(flock: Flock, now: Callable[[], float]) -> bool:
    return flock.acknowledged_since(OURS, now() - 1)
