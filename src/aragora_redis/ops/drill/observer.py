"""Hear what the Sentinels announce while a drill goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from redis.exceptions import RedisError

from ...address import Address
from ..access import connected
from ..targets import SentinelTarget
from .records import Announcement

_HEARD = (
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
    "+try-failover",
    "+elected-leader",
    "+promoted-slave",
    "+switch-master",
    "+convert-to-slave",
    "+reboot",
)
MOST = 1000
"""Announcements that are kept."""
RETRY_EVERY = 0.2


class Observer:
    """Subscribes to every Sentinel, again and again: they may be killed, which is the point."""

    def __init__(self, target: SentinelTarget, now: Callable[[], float]) -> None:
        self._target = target
        self._now = now
        self._tasks: list[asyncio.Task[None]] = []
        self.announcements: list[Announcement] = []

    def start(self) -> None:
        """Begin to listen."""
        self._tasks = [asyncio.create_task(self._listen(at)) for at in self._target.sentinels]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, at: Address) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with connected(at, self._target.sentinel) as client, client.pubsub() as heard:
                    await heard.subscribe(*_HEARD)
                    async for message in heard.listen():
                        if message["type"] == "message" and len(self.announcements) < MOST:
                            said = Announcement(self._now(), str(message["channel"]))
                            self.announcements.append(said)
            await asyncio.sleep(RETRY_EVERY)
