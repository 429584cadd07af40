"""limits: its cheapest strategy, a fixed window."""

from __future__ import annotations

from contextlib import asynccontextmanager

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter

from ..drive import Opening, Parameters, by_callers
from ..target import PLENTY, SUBJECTS, Target

PACKAGES = ("limits", "redis")


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """On redis-py, which is faster than its default."""
    storage = RedisStorage("async+" + target.url, implementation="redispy")
    limiter, item = FixedWindowRateLimiter(storage), RateLimitItemPerSecond(PLENTY)

    async def one(number: int) -> None:
        if not await limiter.hit(item, SUBJECTS[number % len(SUBJECTS)]):
            raise RuntimeError("refused")

    yield by_callers(one, parameters["callers"])


TASKS = {"check": check}
