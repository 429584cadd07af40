"""Active subjects of a limit: what the server and an instance hold of them, and their end."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from redis import Redis

from aragora_redis.lab import Lab

from ..suite.servers import BenchServer
from .child import child
from .findings import Curve, Findings, Table
from .ground import POLICIES, ground
from .strain import strained

CALLERS = 64
SETTLED = 10.0
MEGA = 1e6


async def measure(sizes: tuple[int, ...]) -> Findings:
    """Up to the last of these sizes, looked at on the way."""
    rows: list[tuple[Any, ...]] = []
    with ground() as server:
        before = server.client.info("memory")["used_memory"]
        async with child("instance", env=server.target.env) as instance:
            begun = await instance.ask("ready")
            done = 0
            for size in sizes:
                async with strained(server) as strain:
                    told = await instance.ask("check", "hourly", done, size - done, CALLERS)
                begun_at, done = done, size
                used = server.client.info("memory")["used_memory"] - before
                rows.append(
                    (
                        size,
                        used / size,
                        (told["resident"] - begun["resident"]) / MEGA,
                        told["median"] * 1e3,
                        told["p99"] * 1e3,
                        sum(told["sources"].values()) / told["seconds"],
                        strain.slowest * 1e3,
                        told["spent"] / (size - begun_at) * 1e6,
                        strain.cpu / (size - begun_at) * 1e6,
                    )
                )
                print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            ended = await _ended(server, instance, sizes[-1] // 4)
    failovers = [await _failover(size) for size in (sizes[0], sizes[-1])]
    tables = (
        Table(
            "Checks of subjects that are new",
            (
                *("active subjects", "bytes each on the server", "instance: MB more than at start"),
                *("median ms of a check", "p99 ms", "checks a second", "longest command, ms"),
                *("CPU of a check: instance, µs", "server, µs"),
            ),
            rows,
        ),
        Table(
            "Subjects whose buckets are full again",
            (
                *("subjects", "still there after 10 s, % of all keys", "server CPU meanwhile, s"),
                "foreign PING p99, most, ms",
            ),
            (ended,),
        ),
        Table(
            "The primary is killed, three Redis and three Sentinels",
            (
                *("active subjects", "first local decision after, ms", "slowest check, ms"),
                *("Redis decides again after, s", "instance, MB", "replica synced in s"),
            ),
            failovers,
        ),
    )
    over = ("active subjects", [float(row[0]) for row in rows])
    curve = Curve(
        "subjects",
        "One instance and one Redis, by active subjects",
        over,
        {
            "server, bytes a subject": [row[1] for row in rows],
            "instance, MB more": [row[2] for row in rows],
            "CPU of a check, µs": [row[7] for row in rows],
        },
    )
    return Findings("Subjects", tables, (curve,) if len(rows) > 1 else ())


async def _ended(server: BenchServer, instance: Any, count: int) -> tuple[Any, ...]:
    """Buckets that are full again within two seconds; those of the others stay."""
    staying = server.client.dbsize()
    await instance.ask("check", "brief", 0, count, CALLERS)
    async with strained(server) as strain:
        await asyncio.sleep(SETTLED)
    left = server.client.dbsize()
    return (
        *(count, max(left - staying, 0) / left * 100, strain.cpu),
        ", ".join(f"{ping * 1e3:.2g}" for ping in strain.pings[1:]),
    )


async def _failover(size: int) -> tuple[Any, ...]:
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab.create(Path(directory) / "lab", "sentinel", ports="free")
        policies = Path(directory) / "policies.toml"
        policies.write_text(POLICIES)
        await asyncio.to_thread(lab.start, foreground=True)
        try:
            for name in ("redis-0", "redis-1", "redis-2"):
                node = lab.node(name)
                Redis(port=node.port, password=lab.password(node)).config_set("maxmemory", 0)
            env = lab.env() | {"ARAGORA_POLICIES": str(policies)}
            async with child("instance", env=env) as instance:
                await instance.ask("ready")
                await instance.ask("check", "hourly", 0, size, CALLERS)
                broken = time.monotonic()
                await asyncio.to_thread(lab.kill, "primary")
                local = await instance.ask("first_source", "hourly", "local")
                again = await instance.ask("first_source", "hourly", "redis")
                began = time.monotonic()
                await asyncio.to_thread(lab.start_all)
                synced = await asyncio.to_thread(_until_synced, lab, began)
                return (
                    *(size, (local["at"] - broken) * 1e3),
                    max(local["slowest"], again["slowest"]) * 1e3,
                    *(again["at"] - broken, again["resident"] / MEGA, synced),
                )
        finally:
            await asyncio.to_thread(lab.stop)


def _until_synced(lab: Lab, began: float) -> float:
    while True:
        node = lab.node("primary")
        with Redis(port=node.port, password=lab.password(node)) as client:
            told = client.info("replication")
        if sum(told.get(f"slave{at}", {}).get("state") == "online" for at in range(2)) == 2:
            return time.monotonic() - began
        time.sleep(0.05)
