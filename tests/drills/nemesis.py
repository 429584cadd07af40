"""The faults of a drill, each an async context: it is there inside, and undone after it.

What each allows is said by its band: whether writes that a dying primary has acknowledged may be
lost, whether all of Redis comes back empty, who is cut off.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis

from aragora_redis.lab import Lab, State

from .fleet import Fleet
from .history import Band, Recorder

UNTIL_SEEN = 0.3
"""Seconds after its end (0.2 of trust in a silent link, and scheduling) in which an old primary's
acknowledgement may still be believed."""
UNTIL_DOUBTED = 2.5
"""Seconds for which those who are cut off with a primary may trust it: the Sentinels' silence, or
two ticks of its replicas' lag, the look, and scheduling."""
SWITCH_SECONDS = 30.0
WELL_SECONDS = 60.0
PEERS_SECONDS = 10.0
"""What others are given; some of them never find the new primary."""


@dataclass(slots=True)
class Stage:
    """What a fault acts on."""

    lab: Lab
    fleet: Fleet
    recorder: Recorder
    random: random.Random

    async def do(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Act on the lab, whose calls block."""
        return await asyncio.to_thread(act, *args, **kwargs)

    async def hold(self, least: float, most: float) -> None:
        """Let a fault last: how long is the fault."""
        await asyncio.sleep(self.random.uniform(least, most))

    async def until_switched(self, old: str) -> None:
        """Wait until the Sentinels name another primary."""
        end = time.monotonic() + SWITCH_SECONDS
        while await self.do(self.lab.primary) == old:
            if time.monotonic() > end:
                raise TimeoutError(f"nobody has replaced {old}")
            await asyncio.sleep(0.05)

    async def until_whole(self) -> None:
        """Wait until every data node follows one primary, and every client can serve."""
        end = time.monotonic() + WELL_SECONDS
        while not await self.do(self._whole):
            if time.monotonic() > end:
                raise TimeoutError("the topology does not become whole again")
            await asyncio.sleep(0.1)
        ours = self.fleet.subject == "ours"
        if not await self.fleet.until_well(WELL_SECONDS if ours else PEERS_SECONDS) and ours:
            raise TimeoutError("the clients do not become well again")

    def _whole(self) -> bool:
        status = self.lab.status()
        roles = [node.role for node in status.nodes if node.kind.value == "redis"]
        alive = all(node.state is State.RUNNING for node in status.nodes)
        whole = alive and roles.count("primary") == 1 and None not in roles
        return whole and not _tilted(self.lab)

    @asynccontextmanager
    async def band(self, name: str, **facts: Any) -> AsyncIterator[None]:
        """Write down when a fault was there, and when all was well again."""
        began = time.monotonic()
        try:
            yield
        finally:
            ended = time.monotonic()
            settled = float("inf")
            try:
                await self.until_whole()
                settled = time.monotonic()
            finally:
                self.recorder.write(
                    Band(name=name, began=began, ended=ended, settled=settled, **facts)
                )


Fault = Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def kill(stage: Stage) -> AsyncIterator[None]:
    """kill -9 of the primary."""
    async with stage.band("kill", loses=UNTIL_SEEN):
        old = await stage.do(stage.lab.kill, "primary")
        yield
        await stage.until_switched(old[0])
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.start_all)


@asynccontextmanager
async def freeze(stage: Stage) -> AsyncIterator[None]:
    """SIGSTOP of the primary, which resumes after it was replaced."""
    async with stage.band("freeze", loses=UNTIL_SEEN):
        old = await stage.do(stage.lab.freeze, "primary")
        yield
        await stage.until_switched(old[0])
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.thaw, old[0])


@asynccontextmanager
async def blink(stage: Stage) -> AsyncIterator[None]:
    """SIGSTOP of the primary for less than it takes to be replaced."""
    async with stage.band("blink", loses=None):
        old = await stage.do(stage.lab.freeze, "primary")
        yield
        await stage.hold(0.1, 0.6)
        await stage.do(stage.lab.thaw, old[0])


@asynccontextmanager
async def cut(stage: Stage) -> AsyncIterator[None]:
    """The primary is cut off from all."""
    async with stage.band("cut", loses=UNTIL_SEEN):
        old = await stage.do(stage.lab.primary)
        await stage.do(stage.lab.cut, old)
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def cut_with_clients(stage: Stage) -> AsyncIterator[None]:
    """The primary is cut off, with one Sentinel and one client."""
    async with _cut_off(stage, "cut with clients"):
        yield


@asynccontextmanager
async def island(stage: Stage) -> AsyncIterator[None]:
    """The same with one replica, so that the primary never refuses a write."""
    async with _cut_off(stage, "island", "replica-0"):
        yield


@asynccontextmanager
async def _cut_off(stage: Stage, name: str, *others: str) -> AsyncIterator[None]:
    client = stage.random.choice(list(stage.fleet.living.values()))
    sentinel = f"sentinel-{stage.random.randrange(3)}"
    async with stage.band(name, loses=UNTIL_DOUBTED, cut=1):
        old = await stage.do(stage.lab.primary)
        side = (old, *others, sentinel, stage.fleet.host(client))
        await stage.do(stage.lab.cut, ",".join(side))
        yield
        await stage.until_switched(old)
        await stage.hold(3, 6)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def two_sentinels(stage: Stage) -> AsyncIterator[None]:
    """Two Sentinels are lost: nobody can replace a primary now."""
    async with stage.band("two Sentinels", loses=None):
        lost = stage.random.sample(range(3), 2)
        for number in lost:
            await stage.do(stage.lab.kill, f"sentinel-{number}")
        yield
        await stage.hold(2, 4)
        await stage.do(stage.lab.start_all)


@asynccontextmanager
async def rolling(stage: Stage) -> AsyncIterator[None]:
    """Every data node is restarted, one after the other, the primary last."""
    yield
    for target in ("replica-0", "replica-1"):
        async with stage.band("rolling", loses=None):
            await stage.do(stage.lab.restart, target)
    async with stage.band("rolling", loses=UNTIL_SEEN):
        await stage.do(stage.lab.restart, "primary")


@asynccontextmanager
async def wipe(stage: Stage) -> AsyncIterator[None]:
    """All of Redis restarts without its disk."""
    async with stage.band("wipe", wiped=True, total=True):
        await stage.do(stage.lab.kill, "all")
        yield
        await stage.hold(0.2, 1.5)
        await stage.do(stage.lab.start_all, wipe=True)


@asynccontextmanager
async def oom(stage: Stage) -> AsyncIterator[None]:
    """The primary is at maxmemory."""
    async with stage.band("oom", loses=None):
        await stage.do(stage.lab.trouble, "oom")
        yield
        await stage.hold(1, 3)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def loading(stage: Stage) -> AsyncIterator[None]:
    """The primary restarts and loads for a while; the Sentinels find it well, and do nothing."""
    async with stage.band("loading", loses=UNTIL_SEEN, total=True):
        await stage.do(stage.lab.trouble, "loading")
        yield
        await stage.hold(2, 4)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def outage(stage: Stage) -> AsyncIterator[None]:
    """All of Redis stands still."""
    await stage.do(_shorten_tilt, stage.lab)
    async with stage.band("outage", loses=None, total=True):
        await stage.do(stage.lab.freeze, "all")
        yield
        await stage.hold(3, 5)
        await stage.do(stage.lab.thaw, "all")


def _sentinels(lab: Lab) -> Iterator[redis.Redis]:
    for number in range(3):
        node = lab.node(f"sentinel-{number}")
        with redis.Redis(port=node.port, password=lab.password(node), socket_timeout=1) as client:
            yield client


def _shorten_tilt(lab: Lab) -> None:
    """A Sentinel that stood still replaces nobody for a while; half a minute by default."""
    for client in _sentinels(lab):
        client.execute_command("SENTINEL", "DEBUG", "tilt-period", 2000)


def _tilted(lab: Lab) -> bool:
    return any(client.info("sentinel")["sentinel_tilt"] for client in _sentinels(lab))


FAULTS: dict[str, Fault] = {
    "kill": kill,
    "freeze": freeze,
    "blink": blink,
    "cut": cut,
    "cut-with-clients": cut_with_clients,
    "island": island,
    "two-sentinels": two_sentinels,
    "rolling": rolling,
    "wipe": wipe,
    "oom": oom,
    "loading": loading,
    "outage": outage,
}
NEED_CUTS = {"cut", "cut-with-clients", "island"}
