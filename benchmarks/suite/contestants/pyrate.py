"""pyrate-limiter: a bucket in Redis for each subject."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

from pyrate_limiter import BucketFactory, Duration, Limiter, Rate, RateItem, RedisBucket
from redis.asyncio import Redis

from ..drive import Opening, Parameters, by_callers
from ..target import PLENTY, SUBJECTS, Target

PACKAGES = ("pyrate-limiter", "redis")


class Buckets(BucketFactory):
    """Routes a subject to its bucket, as its documentation shows."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._buckets: dict[str, RedisBucket] = {}

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        """With the time of this process."""
        return RateItem(name, time.time_ns() // 1_000_000, weight=weight)

    async def get(self, item: RateItem) -> RedisBucket:
        """Made at the first call."""
        bucket = self._buckets.get(item.name)
        if bucket is None:
            rates = [Rate(PLENTY, Duration.SECOND)]
            bucket = await RedisBucket.init(rates, self._client, f"pyrate:{item.name}")
            self._buckets[item.name] = bucket
            self.schedule_leak(bucket)
        return bucket


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """One limiter for all."""
    async with Redis.from_url(target.url) as client:
        limiter = Limiter(Buckets(client))

        async def one(number: int) -> None:
            if not await limiter.try_acquire_async(
                SUBJECTS[number % len(SUBJECTS)], blocking=False
            ):
                raise RuntimeError("refused")

        yield by_callers(one, parameters["callers"])
        limiter.close()


TASKS = {"check": check}
