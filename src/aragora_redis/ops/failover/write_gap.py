"""How long clients of a shard could not write while it was handed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.exceptions import NoPermissionError, RedisError

from ...address import Address
from ..access import Access, connected

EVERY = 0.005
"""Seconds between two looks at one node."""


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
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, at: Address, access: Access) -> None:
        while not self.denied:
            try:
                async with connected(at, access) as client:
                    await client.unlink(self._key)
                    while True:
                        self._take(at)
                        await asyncio.sleep(EVERY)
                        await client.unlink(self._key)
            except NoPermissionError:
                self.denied = True
            except (RedisError, OSError):
                await asyncio.sleep(EVERY)

    def _take(self, at: Address) -> None:
        now = self._now()
        if self._newest is not None:
            self.longest = max(self.longest, now - self._newest)
        self._last[at] = self._newest = now
