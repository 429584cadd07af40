"""Hear what those who decide say while a drill goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from redis.exceptions import RedisError

from ...address import Address
from ...topology.nodes import NodeRow, read_rows
from ..access import Access, connected
from ..targets import ClusterTarget, SentinelTarget, Target
from .parts import Part
from .records import FAILED, PROMOTED, Announcement

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
LOOK_EVERY = 0.05
ANSWER_LIMIT = 1.0


class Source(Protocol):
    """One server that tells something."""

    at: Address

    async def listen(self, tell: Callable[[str], None]) -> None:
        """Tell each event, until it ends or raises."""


class Observer:
    """Listens to every source, again and again: they may be killed, which is the point."""

    def __init__(self, sources: Iterable[Source], now: Callable[[], float]) -> None:
        self._sources = tuple(sources)
        self._now = now
        self._tasks: list[asyncio.Task[None]] = []
        self.announcements: list[Announcement] = []

    def start(self) -> None:
        """Begin to listen."""
        self._tasks = [asyncio.create_task(self._listen(source)) for source in self._sources]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, source: Source) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError, ValueError):
                await source.listen(self._tell)
            await asyncio.sleep(RETRY_EVERY)

    def _tell(self, event: str) -> None:
        if len(self.announcements) < MOST:
            self.announcements.append(Announcement(self._now(), event))


class SentinelSource:
    """A Sentinel, which publishes what it decides."""

    def __init__(self, at: Address, access: Access) -> None:
        self.at = at
        self._access = access

    async def listen(self, tell: Callable[[str], None]) -> None:
        async with connected(self.at, self._access) as client, client.pubsub() as heard:
            await heard.subscribe(*_HEARD)
            async for message in heard.listen():
                if message["type"] == "message":
                    tell(str(message["channel"]))


class NodeSource:
    """A node of a cluster, which has to be asked: it tells what is new of a part."""

    def __init__(self, at: Address, access: Access, part: Part) -> None:
        self.at = at
        self._access = access
        self._part = part
        self._known: frozenset[str] = frozenset()

    async def listen(self, tell: Callable[[str], None]) -> None:
        async with connected(self.at, self._access) as client:
            while True:
                async with asyncio.timeout(ANSWER_LIMIT):
                    ask: Any = client.execute_command
                    said = events_in(read_rows(str(await ask("CLUSTER", "NODES"))), self._part)
                for event in said - self._known:
                    tell(event)
                self._known = said
                await asyncio.sleep(LOOK_EVERY)


def events_in(rows: Iterable[NodeRow], part: Part) -> frozenset[str]:
    """What a node says of a part that is not as it was."""
    found = set()
    for row in rows:
        if row.node_id == part.node_id and "fail" in row.flags:
            found.add(FAILED)
        if row.node_id != part.node_id and set(row.slots) & set(part.slots or ()):
            found.add(PROMOTED)
    return frozenset(found)


def sources_of(target: Target, parts: Sequence[Part]) -> list[Source]:
    """All who tell of a deployment that is reached by wire.

    Args:
        target: where it is.
        parts: of a cluster, the one first that something is done to: all nodes are asked about it.
    """
    match target:
        case SentinelTarget():
            return [SentinelSource(at, target.sentinel) for at in target.sentinels]
        case ClusterTarget():
            nodes = (node for part in parts for node in part.nodes)
            return [NodeSource(node, target.redis, parts[0]) for node in nodes]
        case _:
            return []
