"""What can befall Redis with Sentinels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import redis
from redis.asyncio import Redis

from aragora_redis.lab import Kind, Lab, State

from ..history import Recorder
from . import clocks, faults, handovers, links, servers
from .stage import UNTIL_SEEN, Fault, Stage, Victim

UNTIL_DOUBTED = 2.5
"""Seconds for which those who are cut off with a primary may trust it: the Sentinels' silence, or
two ticks of its replicas' lag, the look, and scheduling."""


class SentinelGround:
    """Redis with three Sentinels."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def victim(self) -> Victim:
        """The primary, as the Sentinels say."""
        return Victim(self._lab.primary())

    def replicas(self, victim: Victim) -> list[str]:
        """The other data nodes."""
        nodes = self._lab.status().nodes
        return [n.name for n in nodes if n.kind is Kind.REDIS and n.name != victim.name]

    def is_replaced(self, victim: Victim) -> bool:
        """Whether the Sentinels name another primary."""
        return self._lab.primary() != victim.name

    def is_whole(self) -> bool:
        """Whether every data node follows one primary, and every Sentinel watches."""
        nodes = self._lab.status().nodes
        roles = [node.role for node in nodes if node.kind.value == "redis"]
        alive = all(node.state is State.RUNNING for node in nodes)
        whole = alive and roles.count("primary") == 1 and None not in roles
        return whole and not _tilted(self._lab)

    async def listen(self, recorder: Recorder) -> None:
        """Note when each Sentinel announces another primary."""

        async def hear(port: int, password: str) -> None:
            while True:
                client = Redis(port=port, password=password, decode_responses=True)
                try:
                    async with client.pubsub() as channel:
                        await channel.subscribe("+switch-master")
                        async for message in channel.listen():
                            if message["type"] == "message":
                                recorder.happened("switch", text=message["data"])
                except Exception:  # noqa: BLE001 - Sentinels die here, which is the point
                    await asyncio.sleep(0.2)
                finally:
                    await client.aclose()

        lab = self._lab
        nodes = [lab.node(f"sentinel-{number}") for number in range(3)]
        await asyncio.gather(*(hear(node.port, lab.password(node)) for node in nodes))


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
    async with stage.band(name, loses=UNTIL_DOUBTED, cut=1, beside=client.name) as facts:
        old = await stage.victim()
        side = (old.name, *others, sentinel, stage.fleet.host(client))
        await stage.do(stage.lab.cut, ",".join(side))
        async with stage.away(facts, alone=client.name):
            yield
            await stage.until_switched(old)
            await stage.hold(3, 6)
            await stage.until_stale()
        facts["returns"] = time.monotonic()
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
async def one_sentinel(stage: Stage) -> AsyncIterator[None]:
    """One Sentinel is cut off from all, which nobody may notice."""
    cut_off = f"sentinel-{stage.random.randrange(3)}"
    async with stage.band("one Sentinel", loses=None, seamless=True):
        await stage.do(stage.lab.cut, cut_off)
        yield
        await stage.hold(3, 6)
        await stage.do(stage.lab.heal)


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
async def outage(stage: Stage) -> AsyncIterator[None]:
    """All of Redis stands still."""
    await stage.do(_shorten_tilt, stage.lab)
    async with faults.outage(stage):
        yield


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
    "kill": faults.kill,
    "freeze": faults.freeze,
    "blink": faults.blink,
    "cut": faults.cut,
    "cut-with-clients": cut_with_clients,
    "island": island,
    **links.FAULTS,
    "one-sentinel": one_sentinel,
    "two-sentinels": two_sentinels,
    "slow-replica": servers.slow_replica,
    "rolling": rolling,
    "restart": faults.restart,
    "wipe": faults.wipe,
    "extinction": faults.extinction,
    "full-disk": servers.full_disk_replaced,
    "oom": servers.oom,
    "loading": servers.loading,
    "clock": clocks.step,
    "server-clock": clocks.step_of_server,
    "heir-clock": clocks.skewed_heir,
    "switchover": handovers.switchover,
    "sentinel-failover": handovers.sentinel_failover,
    "outage": outage,
}
