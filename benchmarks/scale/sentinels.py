"""What a Sentinel spends on instances that ask it each second."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from redis import Redis

from aragora_redis.lab import Lab
from aragora_redis.lab.config import MASTER_NAME

from .child import child
from .findings import Findings, Table

SECONDS = 10.0


async def measure(sizes: tuple[int, ...]) -> Findings:
    """Of one Sentinel of three."""
    rows = [await _watched(size) for size in sizes]
    table = Table(
        "A Sentinel that is asked each second",
        (
            *("instances", "CPU, % of a core", "µs a second of each", "answers a second"),
            *("slowest answer, ms", "kB/s sent", "connections refused"),
        ),
        rows,
    )
    return Findings("Sentinels", (table,))


async def _watched(size: int) -> tuple[Any, ...]:
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab.create(Path(directory) / "lab", "sentinel", ports="free")
        await asyncio.to_thread(lab.start, foreground=True)
        try:
            node = lab.node("sentinel-0")
            password = lab.password(node)
            with Redis(port=node.port, password=password) as client:
                before = _spent(client)
                await asyncio.sleep(SECONDS / 2)
                alone = (_spent(client) - before) / (SECONDS / 2)
                env = {"PASSWORD": password}
                async with child("watching", node.port, size, MASTER_NAME, env=env) as watching:
                    await watching.ask("start")
                    sent, before = client.info("stats")["total_net_output_bytes"], _spent(client)
                    told = await watching.ask("live", SECONDS)
                    share = (_spent(client) - before) / SECONDS - alone
                    stats = client.info("stats")
        finally:
            await asyncio.to_thread(lab.stop)
    return (
        *(size, share * 100, share / size * 1e6, told["answers"] / SECONDS, told["slowest"] * 1e3),
        (stats["total_net_output_bytes"] - sent) / SECONDS / 1e3,
        stats["rejected_connections"],
    )


def _spent(client: Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_sys"]) + float(told["used_cpu_user"])
