"""The revocations that every instance of ours holds: what they cost in memory, and to load."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

from ..drive import Opening, Parameters, Task, once
from ..target import Target

PACKAGES = ("aragora-redis",)
MEMORY = """
import gc, sys
from pathlib import Path
from aragora_redis.tokens.entry import SHARDS
from aragora_redis.tokens.shard import Shard
from benchmarks.suite.revoked import PAGE, fill, pages

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

entries = int(sys.argv[1])
shards = [Shard(index) for index in range(SHARDS)]
for _ in pages(PAGE, 0, 20_000):  # what making them takes is no part of it
    pass
gc.collect()
before = resident()
fill(shards, entries, 20_000)
gc.collect()
print((resident() - before) / entries)
"""
BUILD = """
import sys
from aragora_redis.tokens.entry import SHARDS
from aragora_redis.tokens.shard import Shard
from benchmarks.suite.revoked import fill

print(fill([Shard(index) for index in range(SHARDS)], int(sys.argv[1]), 20_000))
"""


async def _printed(program: str, entries: int) -> float:
    """What a process of its own prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(entries), stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return float(out)


def _of(program: str) -> Task:
    @asynccontextmanager
    async def task(_target: Target, parameters: Parameters) -> Opening:
        """In a process of its own for each round."""
        yield once(lambda: _printed(program, parameters["entries"]))

    return task


TASKS = {"memory": _of(MEMORY), "build": _of(BUILD)}
