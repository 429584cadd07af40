"""What each layer of a check costs: the same work begun further and further out.

First a future of the loop alone; then `link/mux.py`, which batches and keeps deadlines;
`link/executor.py`, which knows the way; `state/rate_limits/decider.py`, which reads and remembers;
and the public face with deny cache, leases and events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from aragora_redis import SharedState
from aragora_redis.link.executor import Executor

from ..drive import Opening, Parameters, by_callers
from ..target import KEYS, SUBJECTS, Target

PACKAGES = ("aragora-redis", "hiredis")


@asynccontextmanager
async def layer(target: Target, parameters: Parameters) -> Opening:
    """Checks of 1 000 subjects that are known, from the outside of one layer."""
    async with SharedState.from_env(target.env) as state:
        limits, loop = state.rate_limits, asyncio.get_running_loop()
        for subject in SUBJECTS:
            await limits.check("api", subject)
        decider, limiter = limits._decider, limits._book.named("api")  # noqa: SLF001 - inner layers
        records = [limiter.record(subject) for subject in SUBJECTS]
        operations = [record.check(limiter.policy, 1) for record in records]
        route = cast(Executor, decider.executor)._lead(operations[0])  # noqa: SLF001 - one of them
        if route is None:
            raise RuntimeError("no primary is known")
        lane = route.links.lanes[operations[0].lane]

        async def on_loop(_number: int) -> object:
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            return await future

        async def on_lane(number: int) -> object:
            until = decider.now + decider.deadline
            return await lane.submit(operations[number % KEYS], until)

        ways: tuple[Callable[[int], Awaitable[object]], ...] = (
            on_loop,
            on_lane,
            lambda number: decider.run(operations[number % KEYS]),
            lambda number: decider.ask(limiter, records[number % KEYS], 1, limiter.policy),
            lambda number: limits.check("api", SUBJECTS[number % KEYS]),
        )
        yield by_callers(ways[parameters["layer"]], parameters["callers"])


TASKS = {"layer": layer}
