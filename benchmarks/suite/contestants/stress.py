"""aragora-redis under load."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

from aragora_redis import SharedState

from ..drive import Opening, Parameters, by_arrivals, by_callers
from ..target import KEYS, SUBJECTS, Target

PACKAGES = ("aragora-redis", "redis", "hiredis")
WRITERS = 2


@asynccontextmanager
async def arrivals(target: Target, parameters: Parameters) -> Opening:
    """Checks at a `share` of what this process can do, in percent."""
    async with SharedState.from_env(target.env) as state:
        limits = state.rate_limits

        async def one(number: int) -> None:
            await limits.check("api", SUBJECTS[number % KEYS])

        yield by_arrivals(one, parameters["share"])


@asynccontextmanager
async def overrun(target: Target, parameters: Parameters) -> Opening:
    """Checks by so many `callers` of a limit that is decided here where Redis cannot be asked."""
    async with SharedState.from_env(target.env) as state:
        limits = state.rate_limits

        async def one(number: int) -> None:
            await limits.check("open", SUBJECTS[number % KEYS])
            await asyncio.sleep(0)  # what is answered here would leave the others no turn

        yield by_callers(one, parameters["callers"])


@asynccontextmanager
async def beside_sessions(target: Target, parameters: Parameters) -> Opening:
    """Checks, while others of this process write and read sessions of so many `kilobytes`."""
    size = parameters["kilobytes"] * 1024
    async with SharedState.from_env(target.env) as state, AsyncExitStack() as stack:
        limits, sessions = state.rate_limits, state.sessions

        async def write() -> None:
            session = await sessions.create(data={"page": "x" * size})
            while True:
                await sessions.update(session, set={"page": "y" * size})
                session = await sessions.get(session.id) or session

        async def end(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        for _ in range(WRITERS):
            stack.push_async_callback(end, asyncio.create_task(write()))

        async def one(number: int) -> None:
            await limits.check("api", SUBJECTS[number % KEYS])

        yield by_callers(one, parameters["callers"])


TASKS = {
    "arrivals": arrivals,
    "overrun": overrun,
    "beside-sessions": beside_sessions,
}
