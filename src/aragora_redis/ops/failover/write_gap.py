"""How long clients of a shard could not write while it was handed over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from ...address import Address
from ..access import Access, connected

EVERY = 0.005
"""Seconds between two looks at one node."""
END_LIMIT = 0.2
"""Seconds for a look that is not held to end."""


class WriteGap:
    """Removes a key that is not there, at both nodes, again and again.

    For Redis that is a write, so it waits while writes are held, and a node that does not hold the
    slot sends it away; and it changes nothing.
    """

    def __init__(self, key: str, now: Callable[[], float]) -> None:
        self._key = key
        self._now = now
        self._last: dict[Address, float] = {}
        """When each node has last taken a write."""
        self._newest: float | None = None
        self._over = False
        self.longest = 0.0
        """Seconds between two writes that were taken one after the other, at most."""
        self.denied = False
        """We may not write, so nothing is known."""

    def taken_since(self, at: Address, instant: float) -> bool:
        """Whether a node has taken a write after an instant."""
        return self._last.get(at, -1.0) > instant

    @asynccontextmanager
    async def watched(self, nodes: tuple[Address, ...], access: Access) -> AsyncIterator[None]:
        """Within, both are looked at."""
        tasks = [asyncio.create_task(self._look(at, access)) for at in nodes]
        try:
            yield
        finally:
            # Cancelled while it closes its connection a task would leave that open.
            self._over = True
            _, held = await asyncio.wait(tasks, timeout=END_LIMIT)
            for task in held:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, at: Address, access: Access) -> None:
        while not self._over:
            with contextlib.suppress(RedisError, OSError):
                async with connected(at, access) as client:
                    while not self._over:
                        await self._try(at, client)
                        await asyncio.sleep(EVERY)
            await asyncio.sleep(EVERY)

    async def _try(self, at: Address, client: Redis) -> None:
        try:
            await client.unlink(self._key)
        except NoPermissionError:
            self.denied = self._over = True
        except ResponseError:
            pass  # it does not hold the slot, or not now
        else:
            self._take(at)

    def _take(self, at: Address) -> None:
        now = self._now()
        if self._newest is not None:
            self.longest = max(self.longest, now - self._newest)
        self._last[at] = self._newest = now
