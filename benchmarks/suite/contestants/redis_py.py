"""redis-py: the script by hand, on its pools."""

from __future__ import annotations

from contextlib import asynccontextmanager

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from ..drive import Opening, Parameters, by_callers, by_threads
from ..target import Target

PACKAGES = ("redis", "hiredis")


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """The asynchronous client, with as many connections as callers."""
    async with AsyncRedis.from_url(target.url, max_connections=parameters["callers"]) as client:

        async def one(number: int) -> None:
            await client.evalsha(target.sha, 1, target.key(number), *target.arguments)

        yield by_callers(one, parameters["callers"])


@asynccontextmanager
async def check_sync(target: Target, parameters: Parameters) -> Opening:
    """The synchronous client, from threads."""
    with Redis.from_url(target.url) as client:

        def one(number: int) -> None:
            client.evalsha(target.sha, 1, target.key(number), *target.arguments)

        yield by_threads(one, parameters["threads"])


TASKS = {"check": check, "check-sync": check_sync}
