"""The faults that every mode can have. They hit the primary that decides the limits of the load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .stage import UNTIL_SEEN, Stage, Victim


@asynccontextmanager
async def kill(stage: Stage) -> AsyncIterator[None]:
    """kill -9 of the primary."""
    async with kill_of(stage, "kill", await stage.victim()):
        yield


@asynccontextmanager
async def kill_of(stage: Stage, name: str, old: Victim) -> AsyncIterator[None]:
    """The same of any primary."""
    async with stage.band(name, old, loses=UNTIL_SEEN):
        await stage.do(stage.lab.kill, old.name)
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.start_all)


@asynccontextmanager
async def freeze(stage: Stage) -> AsyncIterator[None]:
    """SIGSTOP of the primary, which resumes after it was replaced."""
    old = await stage.victim()
    async with stage.band("freeze", old, loses=UNTIL_SEEN):
        await stage.do(stage.lab.freeze, old.name)
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.thaw, old.name)


@asynccontextmanager
async def blink(stage: Stage) -> AsyncIterator[None]:
    """SIGSTOP of the primary for less than it takes to be replaced."""
    old = await stage.victim()
    async with stage.band("blink", old, loses=None):
        await stage.do(stage.lab.freeze, old.name)
        yield
        await stage.hold(0.1, 0.6)
        await stage.do(stage.lab.thaw, old.name)


@asynccontextmanager
async def cut(stage: Stage) -> AsyncIterator[None]:
    """The primary is cut off from all."""
    old = await stage.victim()
    async with stage.band("cut", old, loses=UNTIL_SEEN):
        await stage.do(stage.lab.cut, old.name)
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def wipe(stage: Stage) -> AsyncIterator[None]:
    """All of Redis restarts without its disk."""
    async with _all_restart(stage, "wipe", wiped=True):
        yield


@asynccontextmanager
async def wipe_of_free(stage: Stage) -> AsyncIterator[None]:
    """The same where nobody has to agree on a primary first.

    Each server answers its clients as soon as it runs, long before all are whole again, and from
    then on Redis is not away.
    """
    async with _all_restart(stage, "wipe", wiped=True, free=True):
        yield


@asynccontextmanager
async def restart(stage: Stage) -> AsyncIterator[None]:
    """All of Redis is killed, and starts with its data."""
    async with _all_restart(stage, "restart", wiped=False):
        yield


@asynccontextmanager
async def restart_of_free(stage: Stage) -> AsyncIterator[None]:
    """The same where nobody has to agree on a primary first."""
    async with _all_restart(stage, "restart", wiped=False, free=True):
        yield


@asynccontextmanager
async def _all_restart(
    stage: Stage, name: str, *, wiped: bool, free: bool = False
) -> AsyncIterator[None]:
    # What is acknowledged was written to the file, unless an fsync held that up: no longer than
    # what a dying primary may owe its replicas.
    loses = None if wiped else 0.0
    async with stage.band(name, wiped=wiped, loses=loses, total=True) as facts:
        await stage.do(stage.lab.kill, "all")
        async with stage.away(facts):
            yield
            await stage.hold(0.2, 1.5)
        if free:
            facts["returns"] = time.monotonic()
        await stage.do(stage.lab.start_all, wipe=wiped)


@asynccontextmanager
async def extinction(stage: Stage) -> AsyncIterator[None]:
    """All of Redis and all clients die, and Redis has lost its data; what is on disk remains."""
    async with _extinction(stage):
        yield


@asynccontextmanager
async def extinction_of_free(stage: Stage) -> AsyncIterator[None]:
    """The same where nobody has to agree on a primary first."""
    async with _extinction(stage, free=True):
        yield


@asynccontextmanager
async def _extinction(stage: Stage, *, free: bool = False) -> AsyncIterator[None]:
    fleet = stage.fleet
    async with stage.band("extinction", wiped=True, total=True) as facts:
        await stage.do(stage.lab.kill, "all")
        async with stage.away(facts):
            await stage.hold(2, 3)  # what is revoked now is nowhere else; each call waits for 1 s
            yield
            places = [client.number for client in fleet.living.values()]
            await asyncio.gather(*map(fleet.kill, list(fleet.living.values())))
        if free:
            facts["returns"] = time.monotonic()
        await stage.do(stage.lab.start_all, wipe=True)
        heirs = await asyncio.gather(*map(fleet.spawn, places))
        await asyncio.gather(*(heir.ask({"do": "load"}) for heir in heirs))


@asynccontextmanager
async def outage(stage: Stage) -> AsyncIterator[None]:
    """All of Redis stands still."""
    async with stage.band("outage", loses=None, total=True) as facts:
        await stage.do(stage.lab.freeze, "all")
        async with stage.away(facts):
            yield
            await stage.hold(3, 5)
            await stage.until_stale()
        await stage.do(stage.lab.thaw, "all")
