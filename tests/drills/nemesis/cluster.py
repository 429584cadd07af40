"""What can befall a Redis Cluster: most of it one shard, which is that of the load's limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aragora_redis.lab import Lab
from aragora_redis.lab.cluster import ClusterTopology
from aragora_redis.lab.status import NodeStatus
from aragora_redis.settings import from_env

from ..history import Recorder
from ..slots import limit_slot, token_slots
from ..subjects import EVERYBODY
from . import clocks, faults, handovers, links, servers
from .stage import UNTIL_SEEN, Fault, Stage, Victim

NODE_TIMEOUT = 1.0
"""Seconds: the lab's cluster-node-timeout."""
UNTIL_REFUSED = 1.5 * NODE_TIMEOUT + 0.1 + UNTIL_SEEN
"""Seconds for which a primary that is cut off acknowledges what will be lost. It refuses all when
most primaries have not answered it for the timeout; it asks each once in half of that at least,
and looks at the answers ten times a second."""
MOVED = 150
"""Slots that change their holder, beside those that the load uses most."""


class ClusterGround:
    """Three primaries with a replica each."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._topology = ClusterTopology(lab._site)
        self.settings = from_env(lab.env())
        self.limit = limit_slot(self.settings, EVERYBODY)

    def victim(self) -> Victim:
        """The primary of the slot of the limits."""
        return next(each for each in self.primaries() if _holds(each, self.limit))

    def primaries(self) -> list[Victim]:
        """All who hold slots."""
        nodes = self._lab.status().nodes
        return [Victim(node.name, _parts(node.slots)) for node in nodes if node.slots]

    def pairs(self) -> list[tuple[str, Victim]]:
        """Each replica with its primary."""
        nodes: tuple[NodeStatus, ...] = self._lab.status().nodes
        by_name = {each.name: each for each in self.primaries()}
        return [(node.name, by_name[node.replicates]) for node in nodes if node.replicates]

    def replicas(self, victim: Victim) -> list[str]:
        """Those of its shard."""
        return [replica for replica, primary in self.pairs() if primary.name == victim.name]

    def is_replaced(self, victim: Victim) -> bool:
        """Whether most nodes name another holder of its slots."""
        owner = self._topology._owner(victim.slots[0][0])
        return owner is not None and owner.name != victim.name

    def is_whole(self) -> bool:
        """Whether all nodes agree on the holders of all slots, each with its replica."""
        return not self._topology._lacking()

    async def listen(self, recorder: Recorder) -> None:
        """A cluster announces nothing."""


def _parts(slots: str | None) -> tuple[tuple[int, int], ...]:
    runs = (run.partition("-") for run in (slots or "").split(",") if run)
    return tuple((int(first), int(last or first)) for first, _, last in runs)


def _holds(victim: Victim, slot: int) -> bool:
    return any(first <= slot <= last for first, last in victim.slots)


def _ground(stage: Stage) -> ClusterGround:
    assert isinstance(stage.ground, ClusterGround)
    return stage.ground


@asynccontextmanager
async def kill_other(stage: Stage) -> AsyncIterator[None]:
    """kill -9 of a primary that has nothing to do with the limits, which must not notice."""
    ground = _ground(stage)
    others = [each for each in await stage.do(ground.primaries) if not _holds(each, ground.limit)]
    async with faults.kill_of(stage, "kill another", stage.random.choice(others)):
        yield


@asynccontextmanager
async def cut_with_clients(stage: Stage) -> AsyncIterator[None]:
    """A primary is cut off with one client: neither reaches the other nodes."""
    client = stage.random.choice(list(stage.fleet.living.values()))
    old = await stage.victim()
    # The client has lost the other shards, so that no slot is spared.
    until = UNTIL_REFUSED
    async with stage.band(
        "cut with clients", loses=until, doubled=until, cut=1, beside=client.name
    ) as facts:
        await stage.do(stage.lab.cut, f"{old.name},{stage.fleet.host(client)}")
        async with stage.away(facts, alone=client.name):
            yield
            await stage.until_switched(old)
            await stage.hold(3, 6)
            await stage.until_stale()
        facts["returns"] = time.monotonic()
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def reshard(stage: Stage) -> AsyncIterator[None]:
    """Slots move to another primary and back under load, those of the limits and tokens too."""
    ground = _ground(stage)
    giver = await stage.victim()
    others = [each for each in await stage.do(ground.primaries) if each.name != giver.name]
    taker = stage.random.choice(others).name
    held = [slot for first, last in giver.slots for slot in range(first, last + 1)]
    busy = {ground.limit, *token_slots(ground.settings)}.intersection(held)
    slots = sorted(busy.union(stage.random.sample(held, MOVED)))
    async with stage.band("reshard", loses=None, seamless=True):
        moving = asyncio.create_task(stage.do(stage.lab.move_slots, slots, taker))
        yield
        await moving
        await stage.hold(0.5, 1.5)
        await stage.do(stage.lab.move_slots, slots, giver.name)


@asynccontextmanager
async def rolling(stage: Stage) -> AsyncIterator[None]:
    """Every node is killed and restarted, one after the other, in each shard the primary last."""
    yield
    for replica, primary in await stage.do(_ground(stage).pairs):
        async with stage.band("rolling", primary, loses=None):
            await stage.do(stage.lab.restart, replica)
        async with stage.band("rolling", primary, loses=UNTIL_SEEN):
            await stage.do(stage.lab.restart, primary.name)


@asynccontextmanager
async def skewed_heir(stage: Stage) -> AsyncIterator[None]:
    """The same as elsewhere, of a replica that forgets before and after when it was elected.

    It takes part in no election while its clock is behind that moment.
    """
    old = await stage.victim()
    for replica in await stage.replicas(old):
        async with stage.band("restart", old, loses=None):
            await stage.do(stage.lab.restart, replica)
    async with clocks.skewed_heir(stage):
        yield
    heir = await stage.victim()
    async with stage.band("restart", heir, loses=UNTIL_SEEN):
        await stage.do(stage.lab.restart, heir.name)


FAULTS: dict[str, Fault] = {
    "kill": faults.kill,
    "kill-other": kill_other,
    "freeze": faults.freeze,
    "blink": faults.blink,
    "cut": faults.cut,
    "cut-with-clients": cut_with_clients,
    "reshard": reshard,
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
    "heir-clock": skewed_heir,
    "switchover": handovers.switchover,
    "cluster-failover": handovers.cluster_failover,
    "outage": faults.outage,
}
