"""A clock that is set under a running instance, or under a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aragora_redis.link.route import TIME_EVERY
from aragora_redis.state.revocations.feed_clocks import SKEW_LIMIT

from ..history import load
from ..settable import set_clock
from . import faults
from .stage import Stage, Victim

DAY = 86_400.0
STEPS = (-4 * DAY, -3600.0, -100.0, 100.0, 3600.0, 4 * DAY)
"""Seconds: within what clocks may differ, beyond it, and into another day."""
FRESH_PLACE = 90
"""The place of a client that begins while a clock is off."""
LATEST = 400
"""Revocations that it looks at; those before have been looked at by others who began."""


@asynccontextmanager
async def step(stage: Stage) -> AsyncIterator[None]:
    """The clock of one client's machine is set, and set right again: nothing is decided by it."""
    client = stage.random.choice(list(stage.fleet.living.values()))
    async with stage.band("clock", loses=None, seamless=True):
        await client.ask({"do": "step", "by": stage.random.choice(STEPS)})
        yield
        await stage.hold(3, 6)
        if client.name in stage.fleet.living:
            await client.ask({"do": "step", "by": 0.0})


@asynccontextmanager
async def step_of_server(stage: Stage) -> AsyncIterator[None]:
    """The clock of the primary is set, and set right again, as by NTP or a machine that resumes."""
    old = await stage.victim()
    by = stage.random.choice(STEPS)
    async with _off(stage, "server clock", old, by):
        await stage.do(set_clock, stage.lab, old.name, by)
        yield
        await _begin_meanwhile(stage, by)
        await stage.hold(3, 6)
        await stage.do(set_clock, stage.lab, old.name, 0.0)


@asynccontextmanager
async def skewed_heir(stage: Stage) -> AsyncIterator[None]:
    """The primary dies, and the clock of whoever takes its place is off; later it is set right."""
    old = await stage.victim()
    by = stage.random.choice(STEPS)
    replicas = await stage.replicas(old)
    async with _off(stage, "heir clock", old, by):
        for name in replicas:
            await stage.do(set_clock, stage.lab, name, by)
        await stage.until_whole()  # one that is set ahead misses its primary for a moment
        async with faults.kill_of(stage, "kill", old):
            yield
        await _begin_meanwhile(stage, by)
        await stage.hold(2, 4)
        for name in replicas:
            await stage.do(set_clock, stage.lab, name, 0.0)


@asynccontextmanager
async def _off(stage: Stage, name: str, of: Victim, by: float) -> AsyncIterator[None]:
    # Whichever way it is set first, once it goes ahead by so much. One that is days ahead calls
    # over what is revoked then, stores none of it, and receipts say LOCAL.
    over = by >= DAY
    async with stage.band(name, of, loses=None, ahead=abs(by), heard=not over):
        stage.recorder.happened("clock", value=by)
        yield
        # Until it is noticed that it was set right. Once a second the server looks whom it has not
        # heard of for too long (`timeout`, replicas): by a clock that went ahead that is everybody.
        await asyncio.sleep(TIME_EVERY)


async def _begin_meanwhile(stage: Stage, by: float) -> None:
    """One who has just come looks at what was revoked, where it can be ready by such a clock."""
    if abs(by) > SKEW_LIMIT:
        return
    client = await stage.fleet.spawn(FRESH_PLACE)
    calls = load(stage.fleet.histories).of("revoke")
    latest = sorted({call.on for call in calls[-LATEST:]})
    await client.ask({"do": "sweep", "revoked": latest, "sessions": {}})
    await stage.fleet.stop(client)
