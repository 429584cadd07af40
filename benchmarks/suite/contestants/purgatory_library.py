"""purgatory: a circuit that is shared in Redis, and a healthy call through it."""

from __future__ import annotations

from contextlib import asynccontextmanager

from purgatory import AsyncCircuitBreakerFactory, AsyncRedisUnitOfWork

from ..drive import Opening, Parameters, by_callers
from ..target import Target

PACKAGES = ("purgatory", "redis")


@asynccontextmanager
async def closed(target: Target, _parameters: Parameters) -> Opening:
    """The breaker is asked for before each call: only then it is the shared one."""
    factory = AsyncCircuitBreakerFactory(uow=AsyncRedisUnitOfWork(target.url))
    await factory.initialize()

    async def one(_number: int) -> None:
        async with await factory.get_breaker("upstream"):
            pass

    yield by_callers(one, 1)


TASKS = {"closed": closed}
