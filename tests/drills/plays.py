"""Short plays, each of which one rule of the protocol decides.

A drill at random would meet these moments too, in time; here they come at once. A play is judged by
the same checker, from what its clients wrote down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis

from . import checker
from .drill import CALM, OUTAGES, loaded, opened, sweep
from .fleet import Client
from .nemesis import cluster, managed
from .nemesis.faults import extinction
from .nemesis.handovers import order_sentinel_failover
from .nemesis.sentinel import island
from .nemesis.stage import UNTIL_SEEN, Stage, Victim
from .verdict import AT_ONCE, Expectations, Violation

TAIL = [f"tail-{number}" for number in range(8)]
LATER = [f"later-{number}" for number in range(8)]
REPLICAS = "replica-0,replica-1"
Play = Callable[[Stage], Awaitable[None]]


async def judged(
    play: Play, directory: Path, *breaks: str, at_once: float = AT_ONCE
) -> list[Violation]:
    """Let clients, broken as told, play; and check what they wrote down."""
    clients, deadline = CLIENTS.get(play, 2), DEADLINES.get(play, 0.05)
    env = {"ARAGORA_REDIS_DEADLINE": str(deadline)}
    mode = MODES.get(play, "sentinel")
    outage = OUTAGES[play in CLOSED]
    async with opened(
        directory,
        mode,
        outage=outage,
        apart=APART.get(play, ""),
        breaks=breaks,
        env=env,
        outbox=play in OUTBOX,
    ) as stage:
        await asyncio.gather(*(stage.fleet.spawn(number) for number in range(clients)))
        await stage.fleet.until_counted()
        await play(stage)
        await sweep(stage)
    history = await asyncio.to_thread(loaded, directory)
    expected = Expectations(
        instances=clients, deadline=deadline, at_once=at_once, fail_open=outage == OUTAGES[0]
    )
    return checker.check(history, expected)


async def lost_tail(stage: Stage) -> None:
    """The replicas miss a revocation; the primary and who revoked it die at once."""
    revoker, witness = stage.fleet.living.values()
    async with stage.band("lost tail", loses=UNTIL_SEEN):
        await stage.do(stage.lab.cut, "primary", REPLICAS, one_way=True)
        for name in TAIL:
            await _call(revoker, "revoke", name)
            await _call(witness, "verify", name)
        await _lose_primary(stage, revoker)


async def unheard_tail(stage: Stage) -> None:
    """The replicas miss a revocation, and all who know of it die at once."""
    async with stage.band("lost tail", loses=UNTIL_SEEN):
        await stage.do(stage.lab.cut, "primary", REPLICAS, one_way=True)
        clients = list(stage.fleet.living.values())
        for name in TAIL[:2]:
            await _call(clients[0], "revoke", name)
        await _lose_primary(stage, *clients)


async def overtaken_position(stage: Stage) -> None:
    """A new history begins at 1 again, far below what readers have read."""
    revoker, _ = stage.fleet.living.values()
    for number in range(160):
        await _call(revoker, "revoke", f"before-{number}")
    async with stage.band("kill", loses=UNTIL_SEEN):
        await _lose_primary(stage)
    for name in LATER:
        await _call(revoker, "revoke", name)
    await asyncio.sleep(CALM)


async def resumed_primary(stage: Stage) -> None:
    """A client that hears no Sentinel writes to a primary that was replaced as it stood still."""
    client, _ = stage.fleet.living.values()
    label = await _session(stage, client)
    for _ in range(3):  # a look of the feed may be under way, and then the lane is suspect
        await asyncio.sleep(2)  # until the Sentinels know their replicas again
        await _write_to_resumed(stage, client, label)


async def _write_to_resumed(stage: Stage, client: Client, label: str) -> None:
    await _call(client, "write_again", label)
    async with stage.band("freeze", loses=UNTIL_SEEN):
        sentinels = "sentinel-0,sentinel-1,sentinel-2"
        await stage.do(stage.lab.cut, sentinels, stage.fleet.host(client))
        (old,) = await stage.do(stage.lab.freeze, "primary")
        began = time.monotonic()
        try:
            await stage.do(_fail_over, stage)
            await asyncio.sleep(max(began + UNTIL_SEEN + 0.05 - time.monotonic(), 0))
            client.tell(_order("write_again", label, unread=True))
            await asyncio.sleep(0.02)  # until it is written into the frozen server's socket
        finally:
            await stage.do(stage.lab.thaw, old)
        await client.answer()
        await stage.do(stage.lab.heal)


async def flapping(stage: Stage) -> None:
    """Redis stands still and goes on, again and again."""
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(1)
    for _ in range(7):
        async with stage.band("flapping", total=True) as facts:
            await stage.do(stage.lab.freeze, "all")
            await asyncio.sleep(0.6)
            facts["returns"] = time.monotonic()  # to thaw the others takes a tenth of all this
            await stage.do(stage.lab.thaw, "all")
        await asyncio.sleep(0.5)
    await stage.fleet.all({"do": "rest"})


async def outage(stage: Stage) -> None:
    """Redis stands still for a while."""
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(2)
    async with stage.band("outage", total=True):
        await stage.do(stage.lab.freeze, "all")
        await asyncio.sleep(4)
        await stage.do(stage.lab.thaw, "all")
    await stage.fleet.all({"do": "rest"})


async def outage_of_tokens(stage: Stage) -> None:
    """The same, where limits and circuits are on a Redis of their own."""
    await outage(stage)


async def refused(stage: Stage) -> None:
    """Redis stands still for longer than anything may be vouched for, where that is refused."""
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(1)
    async with stage.band("outage", total=True) as facts:
        await stage.do(stage.lab.freeze, "all")
        async with stage.away(facts):
            await asyncio.sleep(1)
            await stage.until_stale()
        await stage.do(stage.lab.thaw, "all")
    await stage.fleet.all({"do": "rest"})


async def extinct(stage: Stage) -> None:
    """All of Redis and all clients die, and Redis comes back empty."""
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(1)
    async with extinction(stage):
        pass
    await stage.fleet.all({"do": "rest"})


async def cut_off(stage: Stage) -> None:
    """A client is alone with a primary that has a replica left, and the others have another one."""
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(1)
    async with island(stage):
        pass
    await stage.fleet.all({"do": "rest"})


async def left_by_the_name(stage: Stage) -> None:
    """A client is alone with the primary of a managed service, and the name moves to another."""
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(1)
    async with managed.cut_with_clients(stage):
        pass
    await stage.fleet.all({"do": "rest"})


async def moving_slots(stage: Stage) -> None:
    """The slots of a cluster that the load uses go to another primary and come back."""
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(1)
    async with cluster.reshard(stage):
        pass
    await stage.fleet.all({"do": "rest"})


async def stale_update(stage: Stage) -> None:
    """A client changes a session as it was before another changed it."""
    slow, quick = stage.fleet.living.values()
    label = await _session(stage, slow)
    await _call(slow, "write_again", label)
    await _call(quick, "write_again", label)
    await _call(slow, "write_again", label, unread=True)


async def calm(stage: Stage) -> None:
    """Nothing happens but load, and a circuit that is half-open."""
    await next(iter(stage.fleet.living.values())).ask({"do": "trip"})
    await stage.fleet.all({"do": "load"})
    await asyncio.sleep(5)
    await stage.fleet.all({"do": "rest"})


async def dropped_connections(stage: Stage) -> None:
    """Connections are reset behind what was sent: it has run, and nobody hears of it."""
    client, _ = stage.fleet.living.values()
    for _ in range(3):
        async with stage.band("dropped", loses=None):
            await stage.do(stage.lab.cut, "primary", "clients", one_way=True)
            client.tell(_order("flood", 8))  # as many as are in flight at once
            await asyncio.sleep(0.02)  # until all has arrived and run
            await stage.do(_drop_clients, stage)
            await stage.do(stage.lab.heal)
            await client.answer()
    await _call(client, "flood", 1)


CLIENTS: dict[Play, int] = {
    flapping: 4,
    outage: 4,
    outage_of_tokens: 4,
    cut_off: 4,
    left_by_the_name: 4,
    moving_slots: 4,
    calm: 3,
}
MODES: dict[Play, str] = {left_by_the_name: "managed", moving_slots: "cluster"}
"""Of the lab, where it is not `sentinel`."""
CLOSED = {refused}
"""Those of an outage that is refused, and not bridged."""
APART: dict[Play, str] = {outage_of_tokens: "limits"}
"""What has a Redis of its own, see `drill.APART`."""
OUTBOX = {extinct}
"""Those whose clients keep on disk what they revoke."""
DEADLINES: dict[Play, float] = {dropped_connections: 0.5}
"""Seconds for a check: enough for a new connection, where a replay is what is looked for."""


async def _lose_primary(stage: Stage, *with_it: Client) -> None:
    """Kill the primary, and clients in the same moment; the rest goes on."""
    (old,) = await stage.do(stage.lab.kill, "primary")
    for client in with_it:
        await stage.fleet.kill(client)
    await stage.until_switched(Victim(old))
    # Not before: the kernel goes on sending what the dead process had written.
    await stage.do(stage.lab.heal)
    await stage.do(stage.lab.start_all)


def _drop_clients(stage: Stage) -> None:
    node = stage.lab.node("primary")
    with redis.Redis(port=node.port, password=stage.lab.password(node)) as client:
        client.client_kill_filter(_type="normal", skipme=True)


def _fail_over(stage: Stage) -> None:
    """Have a Sentinel replace the primary now, and wait until another one is."""
    lab = stage.lab
    order_sentinel_failover(lab)
    end = time.monotonic() + 5
    while not any(node.role == "primary" for node in lab.status().nodes):
        assert time.monotonic() < end
        time.sleep(0.01)


def _order(name: str, *args: object, **given: object) -> dict[str, object]:
    return {"do": "call", "name": name, "args": args, "given": given}


async def _call(client: Client, name: str, *args: object, **given: object) -> None:
    await client.ask(_order(name, *args, **given))


async def _session(stage: Stage, client: Client) -> str:
    """Begin one, and wait until everybody knows it."""
    await _call(client, "begin_session")
    while not stage.fleet.sessions:  # noqa: ASYNC110 - told by another process
        await asyncio.sleep(0.01)
    (label,) = stage.fleet.sessions
    return label
