"""pybreaker: a circuit that is shared in Redis, and a healthy call through it."""

from __future__ import annotations

from contextlib import asynccontextmanager

from pybreaker import STATE_CLOSED, CircuitBreaker, CircuitRedisStorage
from redis import Redis

from ..drive import Opening, Parameters, by_threads
from ..target import Target

PACKAGES = ("pybreaker", "redis")


@asynccontextmanager
async def closed(target: Target, _parameters: Parameters) -> Opening:
    """Its asynchronous form needs Tornado, so one thread."""
    with Redis.from_url(target.url) as client:
        breaker = CircuitBreaker(
            state_storage=CircuitRedisStorage(STATE_CLOSED, client, namespace="bench")
        )

        def one(_number: int) -> None:
            with breaker.calling():
                pass

        yield by_threads(one, 1)


TASKS = {"closed": closed}
