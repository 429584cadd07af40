"""Live revocations: what they take on the server and in an instance, to load, and to reconcile."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..suite.servers import BenchServer, give_past
from . import loading
from .findings import Curve, Findings, Table
from .ground import all_of, ground, instances
from .recording import new_history
from .strain import Strain, strained

MEGA = 1e6
WIPED_AT_MOST = 10**6
"""Revocations that are published again, which takes an instance 100 µs each."""
STORED_EVERY = 0.05


async def measure(sizes: Mapping[int, tuple[int, ...]]) -> Findings:
    """Of each size, with so many instances that start together, one number after the other."""
    server_rows: list[tuple[Any, ...]] = []
    start_rows: list[tuple[Any, ...]] = []
    again_rows: list[tuple[Any, ...]] = []
    for size, joining in sizes.items():
        with ground() as server:
            server_rows.append(await _stored(server, size))
            _say(server_rows)
            for count in joining:
                give_past(server.client)  # of the history that the round before has begun
                start, again = await _joined(server, size, count)
                start_rows.append(start)
                again_rows += again
                _say(start_rows, again_rows)
    tables = (
        Table(
            "What the server holds",
            (
                *("revocations", "bytes each in memory", "feed, MB", "RDB, MB", "saved in s"),
                *("AOF rewritten, MB", "in s", "joined a second"),
            ),
            server_rows,
        ),
        Table(
            "Instances that start together",
            (
                *("revocations", "instances", "first ready, s", "last ready, s"),
                *("CPU of each, s", "MB held", "MB at most"),
                *STRAIN,
            ),
            start_rows,
        ),
        Table(
            "A new history",
            (
                *("revocations", "instances", "lost", "all back in s", "all reconciled in s"),
                *("written, in what was missing", *STRAIN),
            ),
            again_rows,
        ),
    )
    alone = [row for row in start_rows if row[1] == 1]
    over = ("live revocations, millions", [row[0] / MEGA for row in alone])
    curve = Curve(
        "revocations",
        "An instance, by live revocations",
        over,
        {
            "ready after, s": [row[3] for row in alone],
            "held, MB": [row[5] for row in alone],
            "at most meanwhile, MB": [row[6] for row in alone],
        },
    )
    return Findings("Revocations", tables, (curve,) if len(alone) > 1 else ())


def _say(*found: list[tuple[Any, ...]]) -> None:
    for rows in found:
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)


STRAIN = (
    "server CPU, s",
    "busiest 0.1 s, %",
    "MB sent",
    "MB received",
    "longest command, ms",
    "foreign PING median, p99, most, ms",
    "output waiting for one client, MB",
)


def strain_cells(strain: Strain) -> tuple[Any, ...]:
    """The same of each span."""
    pings = ", ".join(f"{ping * 1e3:.2g}" for ping in strain.pings)
    return (
        strain.cpu,
        strain.busiest * 100,
        strain.sent / MEGA,
        strain.received / MEGA,
        strain.slowest * 1e3,
        pings,
        strain.output / MEGA,
    )


async def _stored(server: BenchServer, size: int) -> tuple[Any, ...]:
    client = server.client
    before = client.info("memory")["used_memory"]
    took = await asyncio.to_thread(loading.run, client, loading.revocations(size))
    used = client.info("memory")["used_memory"] - before
    feed = sum(
        client.memory_usage(key, samples=0) or 0 for key in client.scan_iter("aragora:t:*feed")
    )
    saved, rdb = await _saved(server)
    rewritten, aof = await _rewritten(server)
    return (
        size,
        (used - feed) / size,
        *(feed / MEGA, rdb / MEGA, saved, aof / MEGA, rewritten, size / took),
    )


async def _saved(server: BenchServer) -> tuple[float, int]:
    began = time.monotonic()
    server.client.bgsave()
    while server.client.info("persistence")["rdb_bgsave_in_progress"]:
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    path = Path(str(server.client.config_get("dir")["dir"])) / "dump.rdb"
    return took, path.stat().st_size


async def _rewritten(server: BenchServer) -> tuple[float, int]:
    began = time.monotonic()
    server.client.bgrewriteaof()
    while True:
        told = server.client.info("persistence")
        if not told["aof_rewrite_in_progress"] and not told["aof_rewrite_scheduled"]:
            return time.monotonic() - began, int(told["aof_current_size"])
        await asyncio.sleep(0.05)


async def _joined(
    server: BenchServer, size: int, count: int
) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """So many start together; then they meet a new history, whole and empty."""
    async with strained(server) as strain:
        began = time.monotonic()
        entered = instances(server, count)
        fleet = await entered.__aenter__()
        told = await all_of(fleet, "ready")
    try:
        ready = sorted(float(str(each["at"])) - began for each in told)
        each_cpu = sum(float(str(each["cpu"])) for each in told) / count
        held = sum(float(str(each["resident"])) for each in told) / count
        most = max(float(str(each["peak"])) for each in told)
        start = (
            *(size, count, ready[0], ready[-1], each_cpu, held / MEGA, most / MEGA),
            *strain_cells(strain),
        )
        again = [await _again(server, size, fleet, lost="nothing")]
        if size <= WIPED_AT_MOST:
            again.append(await _again(server, size, fleet, lost="all"))
        return start, again
    finally:
        await entered.__aexit__(None, None, None)


async def _again(server: BenchServer, size: int, fleet: list[Any], lost: str) -> tuple[Any, ...]:
    eras = [each["eras"] for each in await all_of(fleet, "how")]
    expected = await asyncio.to_thread(loading.held, server.client)
    async with strained(server) as strain:
        if lost == "all":
            server.client.flushall(asynchronous=True)
        began = time.monotonic()
        new_history(server.client)
        waiting = asyncio.gather(
            *(each.ask("reconciled", was) for each, was in zip(fleet, eras, strict=True))
        )
        back = 0.0
        while not back and await asyncio.to_thread(loading.held, server.client) < expected:
            await asyncio.sleep(STORED_EVERY)
        back = time.monotonic() - began
        told = await waiting
    return (
        *(size, len(fleet), lost, back if lost == "all" else 0.0),
        max(float(str(each["at"])) for each in told) - began,
        _carried(strain, expected if lost == "all" else 0),
        *strain_cells(strain),
    )


def _carried(strain: Strain, missing: int) -> str:
    """Entries that joins carried (each is looked for first), in those that were missing."""
    asked = strain.by_command.get("zscore", (0, 0.0))[0]
    return f"{asked / missing:.2f}" if missing else "none"
