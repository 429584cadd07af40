"""The revocations that every instance of ours holds: what they cost in memory."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

from ..drive import Opening, Parameters, once
from ..target import Target

PACKAGES = ("aragora-redis",)
PROGRAM = """
import gc, random, sys
from pathlib import Path
from aragora_redis.tokens.entry import SHARDS, Entry
from aragora_redis.tokens.replica import ShardReplica

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

entries, rng = int(sys.argv[1]), random.Random(1)
shards = [ShardReplica() for _ in range(SHARDS)]
gc.collect()
before = resident()
for number in range(entries):
    member = rng.randbytes(16)
    shards[member[0] % SHARDS].apply(Entry(20_000 + number % 30, member, 10**12 + number))
gc.collect()
print((resident() - before) / entries)
"""


@asynccontextmanager
async def memory(_target: Target, parameters: Parameters) -> Opening:
    """Resident bytes an entry, in a process of its own for each round."""

    async def measure() -> float:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PROGRAM, str(parameters["entries"])),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return float(out)

    yield once(measure)


TASKS = {"memory": memory}
