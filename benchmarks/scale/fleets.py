"""A thousand instances: what they cost by being there, by a revocation, and by a failover."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from redis import Redis

from ..suite.servers import BenchServer
from . import loading
from .child import Child
from .findings import Curve, Findings, Table
from .ground import all_of, ground, light
from .recording import Recording, bytes_of, new_history, record
from .strain import Strain, strained

LIVING = 20.0
"""Seconds for which an idle fleet is watched: as long as what it writes again and again."""
SETTLED = 8.0
"""Seconds until all know all: more than those after which one that does not beat is gone."""
FAN_OUTS = 100
"""Revocations whose way to all is measured, one after another."""
PAUSE = 0.1
LIFE = SETTLED + LIVING + FAN_OUTS * PAUSE + 15
MEGA = 1e6

SentAt = dict[str, float]
"""When a revocation was sent, by channel and number."""


async def measure(sizes: tuple[int, ...]) -> Findings:
    """Fleets of these sizes."""
    idle_rows: list[tuple[Any, ...]] = []
    fan_rows: list[tuple[Any, ...]] = []
    again_rows: list[tuple[Any, ...]] = []
    with ground() as server:
        recording = await record(server)
    for size in sizes:
        with ground() as server:
            async with light(server, recording, size) as fleet:
                quiet = await _quiet(server)
                start = await _started(server, fleet, size)
                living = asyncio.gather(*(each.ask("live", LIFE) for each in fleet))
                await asyncio.sleep(SETTLED)
                idle = await _idle(server)
                fan_out, sent_at = await _fan_out(server, size, idle)
                told = await living
                idle_rows.append((size, *start, *_idle_cells(size, quiet, idle, told)))
                fan_rows.append((size, *fan_out, *_waits(told, size, sent_at)))
                again_rows.append(await _again(server, fleet, size))
                for rows in (idle_rows, fan_rows, again_rows):
                    print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    tables = (
        Table("What one instance writes", ("", "commands", "kB"), _shape(recording)),
        Table(
            "A fleet that does nothing",
            (
                *("instances", "start: server CPU each, ms", "start: kB sent to each"),
                *(
                    "seen by all",
                    "late at most, s",
                    "server CPU, % of a core",
                    "µs a second of each",
                ),
                *("a beat takes, µs", "kB/s sent", "kB/s received", "MB in use"),
                *("foreign PING median, p99, most, ms", "longest command, ms"),
            ),
            idle_rows,
        ),
        Table(
            "A revocation reaches all",
            (
                *("instances", "server CPU, ms", "µs an instance", "kB sent"),
                *("foreign PING p99, ms", "until the last has it: median ms", "most ms"),
            ),
            fan_rows,
        ),
        Table(
            "All come back at once, after a failover that lost nothing",
            (
                *("instances", "all back in s", "median s", "tried again", "server CPU, s"),
                *("busiest 0.1 s, %", "MB received", "MB sent", "longest command, ms"),
                *("foreign PING median, p99, most, ms", "memory at most, MB"),
            ),
            again_rows,
        ),
    )
    over = ("instances", [float(size) for size in sizes])
    curves = (
        Curve(
            "instances",
            "One Redis, by instances that do nothing",
            over,
            {
                "server CPU, % of a core": [row[5] for row in idle_rows],
                "a beat takes, µs": [row[7] for row in idle_rows],
                "kB/s sent": [row[8] for row in idle_rows],
            },
        ),
        Curve(
            "revocation",
            "A revocation reaches all",
            over,
            {
                "server CPU, ms": [row[1] for row in fan_rows],
                "kB sent": [row[3] for row in fan_rows],
                "until the last has it, median ms": [row[5] for row in fan_rows],
            },
        ),
        Curve(
            "failover",
            "All instances come back at once",
            over,
            {
                "all back in s": [row[1] for row in again_rows],
                "server CPU, s": [row[4] for row in again_rows],
                "MB received": [row[6] for row in again_rows],
            },
        ),
    )
    return Findings("Instances", tables, curves if len(sizes) > 1 else ())


def _shape(recording: Recording) -> list[tuple[Any, ...]]:
    rows = []
    for name, phase in (
        ("to start", recording.start),
        ("in 20 s of idling", recording.idle),
        ("to come back after a failover", recording.again),
    ):
        chunks = [chunk for connection in phase for chunk in connection]
        commands = sum(len(chunk.commands) for chunk in chunks)
        rows.append((f"{name}, on {len(phase)} connections", commands, bytes_of(chunks) / 1e3))
    return rows


async def _started(server: BenchServer, fleet: list[Child], size: int) -> tuple[Any, ...]:
    async with strained(server) as strain:
        await all_of(fleet, "start", size)
    return strain.cpu / size * 1e3, strain.sent / size / 1e3


async def _quiet(server: BenchServer) -> Strain:
    """What looking costs by itself."""
    async with strained(server) as strain:
        await asyncio.sleep(LIVING / 4)
    return strain


async def _idle(server: BenchServer) -> Strain:
    async with strained(server) as strain:
        await asyncio.sleep(LIVING)
    return strain


def _idle_cells(
    size: int, quiet: Strain, strain: Strain, told: list[dict[str, Any]]
) -> tuple[Any, ...]:
    if any(each["errors"] for each in told):
        raise RuntimeError(f"the server refused: {[each['errors'] for each in told]}")
    calls, seconds = strain.by_command.get("evalsha", (0, 0.0))
    share = strain.share - quiet.share
    return (
        *(min(each["instances"] for each in told), max(each["behind"] for each in told)),
        *(share * 100, share / size * 1e6, seconds / max(calls, 1) * 1e6),
        (strain.sent / strain.seconds - quiet.sent / quiet.seconds) / 1e3,
        (strain.received / strain.seconds - quiet.received / quiet.seconds) / 1e3,
        *(strain.memory / MEGA, pings(strain), strain.slowest * 1e3),
    )


async def _fan_out(server: BenchServer, size: int, idle: Strain) -> tuple[tuple[Any, ...], SentAt]:
    """Their looks go on meanwhile: what those cost by themselves is taken off."""
    async with strained(server) as strain:
        with Redis(port=server.target.port, password=server.target.password) as client:
            sent_at = await asyncio.to_thread(_revoke, client)
    spent = (strain.share - idle.share) * strain.seconds / FAN_OUTS
    sent = (strain.sent - idle.sent / idle.seconds * strain.seconds) / FAN_OUTS
    return (spent * 1e3, spent / size * 1e6, sent / 1e3, strain.pings[1] * 1e3), sent_at


def _revoke(client: Redis) -> SentAt:
    sent_at = {}
    for operation in loading.revocations(FAN_OUTS, 1):
        if operation.script is None:
            raise ValueError("a join is a script")
        keys, args = operation.keys, operation.args
        began = time.monotonic()
        position = client.eval(operation.script.source.decode(), len(keys), *keys, 0, *args)
        sent_at[f"{keys[2].decode()} {position[3]}"] = began
        time.sleep(PAUSE)
    return sent_at


def _waits(told: list[dict[str, Any]], size: int, sent_at: SentAt) -> tuple[float, float]:
    """From a revocation until the last one has it: the median, and the most."""
    found = []
    for name, began in sent_at.items():
        heard = [each["heard"].get(name, (0, 0.0)) for each in told]
        if (all_of_them := sum(count for count, _ in heard)) != size:
            raise RuntimeError(f"a revocation reached {all_of_them} instances of {size}")
        found.append(max(at for _, at in heard) - began)
    found.sort()
    return found[len(found) // 2] * 1e3, found[-1] * 1e3


async def _again(server: BenchServer, fleet: list[Child], size: int) -> tuple[Any, ...]:
    coming = asyncio.gather(*(each.ask("lose") for each in fleet))
    await asyncio.sleep(0.5)
    async with strained(server) as strain:
        new_history(server.client)
        told = await coming
    took = sorted(one for each in told for one in each["took"])
    return (
        *(size, took[-1], took[len(took) // 2], sum(each["retries"] for each in told)),
        *(strain.cpu, strain.busiest * 100, strain.received / MEGA, strain.sent / MEGA),
        *(strain.slowest * 1e3, pings(strain), strain.memory / MEGA),
    )


def pings(strain: Strain) -> str:
    return ", ".join(f"{ping * 1e3:.2g}" for ping in strain.pings)
