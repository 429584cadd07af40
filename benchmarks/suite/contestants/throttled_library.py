"""throttled-py: GCRA, the same algorithm as ours."""

from __future__ import annotations

from contextlib import asynccontextmanager

from throttled.asyncio import RateLimiterType, RedisStore, Throttled, per_sec

from ..drive import Opening, Parameters, by_callers
from ..target import PLENTY, SUBJECTS, Target

PACKAGES = ("throttled-py", "redis")


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """With a burst of two seconds: it deletes buckets that live for less than one."""
    throttled = Throttled(
        using=RateLimiterType.GCRA.value,
        quota=per_sec(PLENTY, burst=2 * PLENTY),
        store=RedisStore(server=target.url),
    )

    async def one(number: int) -> None:
        result = await throttled.limit(SUBJECTS[number % len(SUBJECTS)])
        if result.limited:
            raise RuntimeError("refused")

    yield by_callers(one, parameters["callers"])


TASKS = {"check": check}
