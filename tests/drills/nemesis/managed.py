"""What can befall a managed service: two nodes behind one name, and who runs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aragora_redis.lab import Kind, Lab
from aragora_redis.link.endpoint_watcher import LOOK_EVERY

from ..history import Recorder
from . import clocks, faults, links, servers
from .stage import UNTIL_SEEN, Fault, Stage, Victim

PROVIDER = "provider-0"
UNTIL_LOOKED = LOOK_EVERY + UNTIL_SEEN
"""Seconds after the name has moved for which an instance may still trust its former primary, where
that answers: it looks the name up each second, and nobody else tells it."""


class ManagedGround:
    """A service behind one name."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def victim(self) -> Victim:
        """The node that the name leads to."""
        return Victim(self._lab.primary())

    def replicas(self, victim: Victim) -> list[str]:
        """The other data nodes."""
        nodes = self._lab.status().nodes
        return [n.name for n in nodes if n.kind is Kind.REDIS and n.name != victim.name]

    def is_replaced(self, victim: Victim) -> bool:
        """Whether the name has moved."""
        return self._lab.primary() != victim.name

    def is_whole(self) -> bool:
        """Whether the name leads to a primary that the other node follows, up to date."""
        return not self._lab.service.lacking()

    async def listen(self, recorder: Recorder) -> None:
        """Nothing is announced here."""


@asynccontextmanager
async def switch(stage: Stage) -> AsyncIterator[None]:
    """A planned failover: the old primary goes on, read-only, and the name follows later."""
    old = await stage.victim()
    async with stage.band("switch", old, loses=None):
        await stage.do(stage.lab.switch)
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)


@asynccontextmanager
async def cut_with_clients(stage: Stage) -> AsyncIterator[None]:
    """The primary is cut off with one client, from the provider too; that client knows the name.

    It goes on acknowledging, since no node of two can ask for a replica, until the name has moved
    and the client has looked.
    """
    client = stage.random.choice(list(stage.fleet.living.values()))
    old = await stage.victim()
    async with stage.band("cut with clients", old, cut=1, beside=client.name) as facts:
        began = time.monotonic()
        await stage.do(stage.lab.cut, f"{old.name},{stage.fleet.host(client)}")
        yield
        await stage.until_switched(old)
        facts["loses"] = facts["doubled"] = time.monotonic() - began + UNTIL_LOOKED
        await asyncio.sleep(UNTIL_LOOKED)
        async with stage.away(facts, alone=client.name):
            await stage.hold(3, 6)
            await stage.until_stale()
        facts["returns"] = time.monotonic()
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def resume(stage: Stage) -> AsyncIterator[None]:
    """A replaced primary resumes, sure that it is one, while the provider stands still.

    Nobody demotes it: only the name says that it is not to be written.
    """
    old = await stage.victim()
    async with stage.band("resume", old, loses=UNTIL_SEEN):
        await stage.do(stage.lab.freeze, old.name)
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 1)
        await stage.do(stage.lab.freeze, PROVIDER)
        await stage.do(stage.lab.thaw, old.name)
        await stage.hold(2, 4)
        await stage.do(stage.lab.thaw, PROVIDER)


@asynccontextmanager
async def rotate(stage: Stage) -> AsyncIterator[None]:
    """The password changes under load, and the old one opens nothing any more."""
    async with stage.band("rotate", loses=None, seamless=True):
        await stage.do(stage.lab.rotate, 2.0)
        yield
        await stage.hold(3, 4)


@asynccontextmanager
async def rolling(stage: Stage) -> AsyncIterator[None]:
    """Both nodes are restarted, one after the other, the primary last."""
    yield
    primary = await stage.victim()
    (replica,) = await stage.replicas(primary)
    async with stage.band("rolling", loses=None):
        await stage.do(stage.lab.restart, replica)
    async with stage.band("rolling", loses=UNTIL_SEEN) as facts:
        began = time.monotonic()
        await stage.do(stage.lab.restart, primary.name)
        await stage.until_whole()
        # Where that took longer than the provider waits, it came back as a primary that had been
        # replaced, and the name led to it for another while.
        if await stage.do(stage.ground.is_replaced, primary):
            facts["loses"] = time.monotonic() - began


FAULTS: dict[str, Fault] = {
    "kill": faults.kill,
    "freeze": faults.freeze,
    "blink": faults.blink,
    "switch": switch,
    "cut": faults.cut,
    "cut-with-clients": cut_with_clients,
    "resume": resume,
    "rotate": rotate,
    **links.FAULTS,
    "slow-replica": servers.slow_replica,
    "rolling": rolling,
    "restart": faults.restart_of_free,
    "wipe": faults.wipe_of_free,
    "extinction": faults.extinction_of_free,
    "full-disk": servers.full_disk,
    "oom": servers.oom,
    "loading": servers.loading,
    "clock": clocks.step,
    "server-clock": clocks.step_of_server,
    "heir-clock": clocks.skewed_heir,
    "outage": faults.outage,
}
