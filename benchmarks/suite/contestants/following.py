"""An instance of ours that hears what another process revokes."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager

from aragora_redis import SharedState

from ..drive import Opening, Parameters, clock
from ..sample import Sample, timed
from ..target import Target

PACKAGES = ("aragora-redis", "redis", "hiredis")
REVOKE = """
import itertools, os, sys, time
from redis import Redis
from aragora_redis.scripts.catalog import load
from aragora_redis.tokens import operations
from aragora_redis.tokens.entry import DAY, SHARDS, Entry

port, batch = int(sys.argv[1]), int(sys.argv[2])
client = Redis(port=port, password=os.environ["PASSWORD"])
client.script_load(load("join").source)
keys = [operations.ShardKeys("aragora", index) for index in range(SHARDS)]
today = int(time.time() // DAY)
for number in itertools.count():
    with client.pipeline(transaction=False) as pipeline:
        for call in range(number, number + (16 if batch > 1 else 256)):
            shard, day = call % SHARDS, today + 1 + call // SHARDS % 30
            members = (bytes((shard,)) + os.urandom(7) for _ in range(batch))
            entries = [Entry(day, member, day * DAY * 1000) for member in members]
            join = operations.join(keys[shard], entries, nonce=b"bench")
            pipeline.evalsha(join.script.sha, len(join.keys), *join.keys, 0, *join.args)
        pipeline.execute()
"""


@asynccontextmanager
async def follow(target: Target, parameters: Parameters) -> Opening:
    """Revocations that reach it, `batch` a call of the join script."""
    async with SharedState.from_env(target.env) as state:

        async def run(seconds: float) -> Sample:
            revoker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", REVOKE, str(target.port), str(parameters["batch"])),
                env={"PASSWORD": target.password},
            )
            try:
                known = len(state.tokens)
                while len(state.tokens) == known:
                    await asyncio.sleep(0.01)
                known, began, cpu = len(state.tokens), clock(), time.process_time()
                await asyncio.sleep(seconds)
                spent = time.process_time() - cpu
                return timed(len(state.tokens) - known, clock() - began, spent, [])
            finally:
                revoker.kill()
                await revoker.wait()

        yield run


TASKS = {"follow": follow}
