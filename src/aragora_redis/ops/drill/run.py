"""`aragora-redis drill`: make a fault while two writers write, and measure what that does."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.exceptions import RedisError

from ...clock import Clock
from ...errors import LabError, OutcomeUnknownError
from ...settings import Settings
from ..access import connected
from ..asking import survey
from ..doctor import examine
from ..report import Status
from ..survey import Survey
from ..targets import Target
from ..waiting import until
from .canaries import Canary, Flock, OurClient, RedisPyClient
from .measures import OURS, PEER, Objectives, judge
from .observer import Observer, sources_of
from .parts import Part
from .records import Records
from .report import DrillReport
from .scenarios import Actor, Scenario
from .service import Service

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


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a drill is done.

    Attributes:
        settings: of the deployment.
        target: the same, as servers.
        part: what the fault is made on.
        others: what is not touched.
        service: who leads a managed one, of which the target shows the name alone.
    """

    settings: Settings
    target: Target
    part: Part
    others: tuple[Part, ...] = ()
    service: Service | None = None


async def run_drill(
    stage: Stage,
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
        stage: where.
        scenario: which fault.
        actor: who makes it.
        terms: how.
        clock: for all that is measured.
        on_step: told what is going on.
    """
    drill = _Drill(stage, scenario, terms, clock=clock, on_step=on_step)
    on_step("asking all servers whether they are well")
    reasons = await drill.reasons_against()
    if reasons and not terms.force:
        return DrillReport(scenario, terms.objectives, refused=reasons)
    try:
        await drill.run(actor)
    except LabError as error:
        if not drill.begun:
            notes = tuple(drill.notes)
            return DrillReport(scenario, terms.objectives, refused=(str(error),), notes=notes)
        drill.notes.append(str(error))
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
        stage: Stage,
        scenario: Scenario,
        terms: Terms,
        *,
        clock: Clock,
        on_step: Callable[[str], None],
    ) -> None:
        self._stage = stage
        self._scenario = scenario
        self._terms = terms
        self._clock = clock
        self._on_step = on_step
        self._began = clock.monotonic()
        self._writers = writers_of(
            stage, f"{stage.settings.prefix}:drill:{secrets.token_hex(4)}", clock
        )
        self.records = Records()
        self.notes: list[str] = []
        self.begun = False
        """The fault was made, or may have been."""

    def _now(self) -> float:
        return self._clock.monotonic() - self._began

    async def reasons_against(self) -> tuple[str, ...]:
        """What is an outage already."""
        found = examine(await self._survey()).diagnoses
        critical = tuple(each.headline for each in found if each.status is Status.CRITICAL)
        service = self._stage.service
        return critical if service is None else critical + await service.reasons_against()

    async def run(self, actor: Actor) -> None:
        records = self.records
        async with self._observed(), self._written() as flock:
            self._on_step("writing, so that there is something to compare with")
            if not await self._until(lambda: _writing(flock, self._now), START_LIMIT):
                raise LabError("nothing can be written", remedy="see aragora-redis doctor")
            await asyncio.sleep(BASELINE)
            self._on_step(f"{self._scenario}: now")
            records.fault_at = self._now()
            try:
                await self._begin(actor)
                if self._scenario.replaces:
                    await self._wait_for_switch()
                await asyncio.sleep(self._terms.hold)
            finally:
                await self._mend(actor)
                records.mended_at = self._now()
            self._on_step("waiting until all is well again")
            if not await self._until(lambda: self._well(flock), WELL_LIMIT):
                self.notes.append(f"not all is well again after {WELL_LIMIT:.0f} s: see doctor")
            await asyncio.sleep(BASELINE)

    async def _begin(self, actor: Actor) -> None:
        try:
            await actor.begin()
        except OutcomeUnknownError as error:
            # What comes of it is measured all the same.
            self.records.doubt = error.message
            self.notes.append(str(error))
        self.begun = True

    async def _mend(self, actor: Actor) -> None:
        try:
            self._on_step("mending it")
        finally:  # whoever is told may fail
            await self._end(actor)

    async def _end(self, actor: Actor) -> None:
        try:
            await actor.end()
        except LabError as error:
            self.notes.append(f"it could not be mended: {error}")
            self._on_step(self.notes[-1])

    async def _wait_for_switch(self) -> None:
        part, service = self._stage.part, self._stage.service

        async def switched() -> bool:
            if service is not None:
                return await service.is_replaced()
            primary = part.primary_now(await self._survey(details=False))
            return primary is not None and primary != part.primary

        if not await self._until(switched, SWITCH_LIMIT):
            self.notes.append(f"nobody has replaced {part.primary} within {SWITCH_LIMIT:.0f} s")

    async def _well(self, flock: Flock) -> bool:
        mended = self.records.mended_at
        return flock.acknowledged_since(OURS, mended) and not await self.reasons_against()

    async def _survey(self, *, details: bool = True) -> Survey:
        return await survey(
            self._stage.target,
            prefix=self._stage.settings.prefix,
            clock=self._clock,
            deadline=self._terms.deadline,
            details=details,
        )

    @asynccontextmanager
    async def _observed(self) -> AsyncIterator[None]:
        stage = self._stage
        parts = (stage.part, *stage.others)
        sources = sources_of(stage.target, parts) if stage.service is None else [stage.service]
        observer = Observer(sources, self._now)
        observer.start()
        try:
            yield
        finally:
            await observer.stop()
            self.records.announcements = observer.announcements

    @asynccontextmanager
    async def _written(self) -> AsyncIterator[Flock]:
        """Within, both write; at the end it is known what is left, and removed."""
        flock = Flock({name: canary for name, (_, canary) in self._writers.items()}, self._now)
        await flock.start()
        try:
            yield flock
        finally:
            self.records.ended_at = self._now()
            await flock.stop()
            self.records.writes = flock.writes
            await self._collect()

    async def _collect(self) -> None:
        seen = await self._survey(details=False)
        for name, (part, canary) in self._writers.items():
            primary = part.primary_now(seen)
            if primary is None:
                self.notes.append(f"no primary is left to be asked what survived of {name}")
                continue
            try:
                async with (
                    asyncio.timeout(START_LIMIT),
                    connected(primary, self._stage.target.redis) as client,
                ):
                    found = await client.smembers(canary.key)
                    self.records.survivors[name] = {int(number) for number in found}
                    await client.unlink(canary.key)
            except (RedisError, OSError, TimeoutError) as error:
                self.notes.append(f"{primary} does not tell what survived of {name}: {error}")

    async def _until(self, reached: Callable[[], Awaitable[bool]], limit: float) -> bool:
        return await until(reached, limit, clock=self._clock, every=LOOK_EVERY)


def writers_of(stage: Stage, stem: str, clock: Clock) -> dict[str, tuple[Part, Canary]]:
    """Both clients where the fault is made, and ours on each part that is not touched.

    As in a service, one client of ours writes to all of them.
    """
    ours = OurClient(stage.settings, clock)
    peer = RedisPyClient(stage.target)
    found = {
        OURS: (stage.part, Canary(ours, stage.part.key(f"{stem}:ours"))),
        PEER: (stage.part, Canary(peer, stage.part.key(f"{stem}:peer"))),
    }
    for other in stage.others:
        found[f"{OURS} {other}"] = (other, Canary(ours, other.key(f"{stem}:ours"), hands=1))
    return found


async def _writing(flock: Flock, now: Callable[[], float]) -> bool:
    return flock.acknowledged_since(OURS, now() - 1)
