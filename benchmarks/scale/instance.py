"""A real instance in a process of its own, as a run asks it.

ARAGORA_...=... python -m benchmarks.scale.instance
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aragora_redis import SharedState
from aragora_redis.state.revocations.feed import TokenFeed

from .child import answering, peak, resident

LOOK_EVERY = 0.005
TIMED = 5_000
"""Checks whose times are kept, about: those of all would be most of what is measured."""


class Instance:
    """Answers what it is asked. Times are those of the machine's monotonic clock."""

    def __init__(self, state: SharedState) -> None:
        self._state = state

    async def ready(self) -> dict[str, Any]:
        """Wait until it judges tokens."""
        while not self._state.ready:
            await asyncio.sleep(LOOK_EVERY)
        return await self.how()

    @property
    def _feed(self) -> TokenFeed | None:
        redis = self._state._redis  # noqa: SLF001 - which history it follows is nobody else's matter
        return redis.feed if redis else None

    async def how(self) -> dict[str, Any]:
        """How it is."""
        status = self._state.status()
        return {
            "at": time.monotonic(),
            "resident": resident(),
            "peak": peak(),
            "cpu": time.process_time(),
            "tokens": status.tokens,
            "instances": status.instances,
            "eras": self._feed.eras if self._feed else "",
        }

    async def reconciled(self, eras: str) -> dict[str, Any]:
        """Wait until it has followed another history than this one, in all shards."""
        feed = self._feed
        while (
            feed is None
            or feed.eras == eras
            or len({shard.reconciled.rid for shard in feed.shards if shard.reconciled}) > 1
            or self._state.status().health != "healthy"
        ):
            await asyncio.sleep(LOOK_EVERY)
        return await self.how()

    async def check(self, policy: str, first: str, count: str, callers: str) -> dict[str, Any]:
        """Check so many subjects once, from a number on."""
        numbers = iter(range(int(first), int(first) + int(count)))
        each = max(int(count) // TIMED, 1)
        limits, sources, took = self._state.rate_limits, dict[str, int](), list[float]()

        async def call() -> None:
            for number in numbers:
                began = time.perf_counter()
                decision = await limits.check(policy, f"user:{number}")
                if number % each == 0:
                    took.append(time.perf_counter() - began)
                sources[decision.source] = sources.get(decision.source, 0) + 1

        began, spent = time.perf_counter(), time.process_time()
        await asyncio.gather(*(call() for _ in range(int(callers))))
        seconds = time.perf_counter() - began
        took.sort()
        return {
            **await self.how(),
            "seconds": seconds,
            "sources": sources,
            "spent": time.process_time() - spent,
            "median": took[len(took) // 2],
            "p99": took[int(len(took) * 0.99)],
        }

    async def first_source(self, policy: str, source: str) -> dict[str, Any]:
        """Check new subjects, one after another, until one is decided by that source."""
        slowest, number = 0.0, 0
        while True:
            number += 1
            began = time.monotonic()
            decision = await self._state.rate_limits.check(policy, f"probe:{number}:{began}")
            slowest = max(slowest, time.monotonic() - began)
            if decision.source == source:
                return {**await self.how(), "slowest": slowest, "checks": number}
            await asyncio.sleep(0.001)


async def _main() -> None:
    async with SharedState.from_env() as state:
        it = Instance(state)
        await answering(
            {
                "ready": it.ready,
                "how": it.how,
                "reconciled": it.reconciled,
                "check": it.check,
                "first_source": it.first_source,
            }
        )


asyncio.run(_main())
