"""aragora-redis with more of one thing after the other."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

from aragora_redis import SharedState

from ..drive import Opening, Parameters, by_blocks, by_callers, clock
from ..sample import Sample
from ..target import KEYS, SUBJECTS, Target

PACKAGES = ("aragora-redis", "redis", "hiredis")
CALLERS = 64


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """Checks by so many `callers` of so many `keys`."""
    keys = parameters.get("keys", KEYS)
    async with SharedState.from_env(target.env) as state:
        limits = state.rate_limits

        async def one(number: int) -> None:
            await limits.check("open", f"user:{number % keys}")

        yield by_callers(one, parameters.get("callers", CALLERS))


@asynccontextmanager
async def burst(target: Target, parameters: Parameters) -> Opening:
    """Checks by one who asks so many at once."""
    size = parameters["size"]
    async with SharedState.from_env(target.env) as state:
        limits = state.rate_limits

        async def block(count: int) -> None:
            for begin in range(0, count, size):
                asked = (SUBJECTS[number % KEYS] for number in range(begin, begin + size))
                await asyncio.gather(*(limits.check("api", subject) for subject in asked))

        yield by_blocks(block)


@asynccontextmanager
async def idle(target: Target, parameters: Parameters) -> Opening:
    """So many instances that do nothing but live."""
    count = parameters["instances"]
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(SharedState.from_env(target.env))

        async def run(seconds: float) -> Sample:
            began, cpu = clock(), time.process_time()
            await asyncio.sleep(seconds)
            lasted = clock() - began
            spent = time.process_time() - cpu
            return Sample(calls=round(count * lasted), seconds=lasted, cpu=spent)

        yield run


TASKS = {"check": check, "burst": burst, "idle": idle}
