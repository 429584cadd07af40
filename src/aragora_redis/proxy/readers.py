"""Where the replicas are, and the connections that lead there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from ..address import Address
from ..clock import Clock
from ..errors import AragoraRedisError
from ..link.reach import Reach
from ..link.supervision import supervised
from ..operation import Kind, Lane, Operation
from ..topology.statement import read_followers
from .followers import Followers
from .lead import Server
from .passage import Passage

LOOK_EVERY = 0.5
ASK_LIMIT = 0.5
"""Seconds that the primary has to answer."""

_log = logging.getLogger(__name__)
_FOLLOWERS = Operation(
    kind=Kind.READ, keys=(), args=("INFO", "replication"), read=read_followers, lane=Lane.BULK
)


class Readers:
    """Leads to replicas in turn. Who only reads needs no proof, so bytes pass at all times.

    Args:
        reach: follows the primary and its Sentinels.
        max_lag: seconds that a replica may be behind.
    """

    def __init__(self, reach: Reach, *, max_lag: float, clock: Clock) -> None:
        self._reach = reach
        self._clock = clock
        self._followers = Followers(max_lag)
        self._task: asyncio.Task[None] | None = None
        self.passages: dict[Passage, Address] = {}
        """Those that lead to replicas, and to which."""

    def start(self) -> None:
        """Follow in the background."""
        self._task = asyncio.create_task(supervised("the replicas", self._run))

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def passes(self) -> bool:
        """Always."""
        return True

    def hold(self, passage: Passage) -> None:
        """Nothing is held for long."""
        passage.release()

    def pick(self) -> Server | None:
        """The next replica that is usable, or None."""
        chosen = self._followers.next_of(self._usable())
        return Server(chosen) if chosen is not None else None

    def sort_out(self) -> None:
        """End connections to what is no usable replica."""
        usable = set(self._usable())
        for passage, replica in list(self.passages.items()):
            if replica not in usable:
                del self.passages[passage]
                passage.end("change")
                _log.warning("a connection to %s was ended: it is no usable replica", replica)

    async def _run(self) -> None:
        while True:
            await self._look()
            self.sort_out()
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        try:
            followers = await self._reach.executor.run(_FOLLOWERS, within=ASK_LIMIT)
        except AragoraRedisError:  # without a primary they are as current as they were
            return
        self._followers.note(dict(followers), self._clock.monotonic())

    def _usable(self) -> list[Address]:
        return self._followers.usable(set(self._up()), self._clock.monotonic())

    def _up(self) -> Iterator[Address]:
        if (watcher := self._reach.watcher) is not None:
            yield from watcher.panel.promotable_replicas
