"""What can befall links: packets that are dropped one way only, or again and again."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aragora_redis.lab import Lab
from aragora_redis.lab.admin import replication

from .stage import UNTIL_SEEN, Fault, Stage

FLAPS = 6
HEARD_SECONDS = 20.0


@asynccontextmanager
async def mute(stage: Stage) -> AsyncIterator[None]:
    """The primary hears all, and nobody hears it: what it is sent still runs there."""
    old = await stage.victim()
    async with stage.band("mute", old, loses=UNTIL_SEEN):
        await _drop(stage, [old.name], ["rest"])
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def deaf(stage: Stage) -> AsyncIterator[None]:
    """The primary is heard, and hears nobody."""
    old = await stage.victim()
    async with stage.band("deaf", old, loses=UNTIL_SEEN):
        await _drop(stage, [*await stage.do(_others, stage, old.name), "clients"], [old.name])
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def mute_to_replicas(stage: Stage) -> AsyncIterator[None]:
    """The primary's stream does not arrive, while it hears that its replicas are there."""
    async with _one_way(stage, "mute to replicas") as (primary, replicas):
        await _drop(stage, [primary], replicas)
        yield


@asynccontextmanager
async def deaf_to_replicas(stage: Stage) -> AsyncIterator[None]:
    """The primary does not hear its replicas, and may refuse writes for want of one."""
    async with _one_way(stage, "deaf to replicas") as (primary, replicas):
        await _drop(stage, replicas, [primary])
        yield


@asynccontextmanager
async def mute_to_client(stage: Stage) -> AsyncIterator[None]:
    """One client is not answered, although what it sends runs."""
    async with _one_client(stage, "mute to a client", answers=False):
        yield


@asynccontextmanager
async def deaf_to_client(stage: Stage) -> AsyncIterator[None]:
    """What one client sends does not arrive."""
    async with _one_client(stage, "deaf to a client", answers=True):
        yield


@asynccontextmanager
async def flapping(stage: Stage) -> AsyncIterator[None]:
    """The link of all clients with the primary fails and comes back, again and again."""
    old = await stage.victim()
    async with stage.band("flapping", old, loses=None, times=FLAPS):
        yield
        await _flap(stage, old.name, ["clients"])


@asynccontextmanager
async def flapping_replicas(stage: Stage) -> AsyncIterator[None]:
    """So does the link of the primary with its replicas."""
    old = await stage.victim()
    replicas = await stage.replicas(old)
    async with stage.band("flapping replicas", old, loses=None):
        yield
        await _flap(stage, old.name, replicas)
        await _until_heard(stage, old.name, replicas)


@asynccontextmanager
async def _one_way(stage: Stage, name: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Between the primary and its replicas, for longer than a replica may lag."""
    old = await stage.victim()
    replicas = await stage.replicas(old)
    async with stage.band(name, old, loses=None):
        yield old.name, replicas
        await stage.hold(4, 6)
        await stage.do(stage.lab.heal)
        await _until_heard(stage, old.name, replicas)


@asynccontextmanager
async def _one_client(stage: Stage, name: str, *, answers: bool) -> AsyncIterator[None]:
    client = stage.random.choice(list(stage.fleet.living.values()))
    host = stage.fleet.host(client)
    old = await stage.victim()
    async with stage.band(name, old, loses=None, cut=1) as facts:
        await _drop(stage, *(([host], [old.name]) if answers else ([old.name], [host])))
        async with stage.away(facts, alone=client.name):
            yield
            await stage.hold(3, 6)
            await stage.until_stale()
        await stage.do(stage.lab.heal)


async def _drop(stage: Stage, sent_by: Sequence[str], to: Sequence[str]) -> None:
    await stage.do(stage.lab.cut, ",".join(sent_by), ",".join(to), one_way=True)


async def _flap(stage: Stage, one: str, others: Sequence[str]) -> None:
    for _ in range(FLAPS):
        await stage.do(stage.lab.cut, one, ",".join(others))
        await stage.hold(0.1, 1.2)
        await stage.do(stage.lab.heal)
        await stage.hold(0.1, 0.8)


async def _until_heard(stage: Stage, primary: str, replicas: Sequence[str]) -> None:
    """Wait until replicas have acknowledged what their primary has now.

    A link that is back carries nothing until TCP tries again, which after a cut of five seconds may
    be three later: until then the primary comes to refuse writes for want of a replica.
    """
    end = time.monotonic() + HEARD_SECONDS
    had: int | None = None
    while True:
        has, heard = await stage.do(_acknowledged, stage.lab, primary)
        had = has if had is None else had
        if had is not None and len(heard) >= len(replicas) and min(heard) >= had:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{primary} does not hear its replicas again")
        await asyncio.sleep(0.05)


def _acknowledged(lab: Lab, primary: str) -> tuple[int | None, list[int]]:
    """The offset of a primary, None where it does not answer, and those acknowledged."""
    node = lab.node(primary)
    said = replication(node, lab._site.access(node))
    rows = [row for key, row in said.items() if re.fullmatch(r"slave\d+", key)]
    return said.get("master_repl_offset"), [row["offset"] for row in rows]


def _others(stage: Stage, name: str) -> list[str]:
    return [node.name for node in stage.lab.status().nodes if node.name != name]


FAULTS: dict[str, Fault] = {
    "mute": mute,
    "deaf": deaf,
    "mute-to-replicas": mute_to_replicas,
    "deaf-to-replicas": deaf_to_replicas,
    "mute-to-client": mute_to_client,
    "deaf-to-client": deaf_to_client,
    "flapping": flapping,
    "flapping-replicas": flapping_replicas,
}
