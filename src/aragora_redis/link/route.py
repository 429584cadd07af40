"""The way to one primary: its lanes, its standing, the joins that wait for its replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..clock import Clock, ServerTime
from ..errors import AragoraRedisError
from ..operation import Fence, Kind, Lane, Operation
from .durable import GroupCommit
from .primary import PrimaryLinks
from .replies import RedirectError
from .standing import Standing, Vouching
from .supervision import supervised
from .verification import read_time

WARM_EVERY = 0.05
"""Seconds between looks whether a lane falls silent."""
TIME_EVERY = 2.0
TIME_LIMIT = 0.5
_UNFENCED = Fence.NONE
PROMPT = 0.05
"""Seconds within which the answer to TIME tells the server's clock well enough."""
_TIME = Operation(kind=Kind.READ, keys=(), args=("TIME",), read=read_time)


class Route:
    """Leads to one primary for as long as it is started.

    Args:
        links: the lanes.
        vouching: who can say that the primary was replaced; None where nobody does.
        required: how many replicas must acknowledge what shall count as replicated.
        on_doubt: told why the primary may no longer speak for the fleet, when that begins.
        on_redirect: told that another node holds a slot.
    """

    def __init__(
        self,
        links: PrimaryLinks,
        *,
        clock: Clock,
        vouching: Vouching | None,
        required: Callable[[], int],
        on_doubt: Callable[[str], None],
        on_redirect: Callable[[RedirectError], object],
    ) -> None:
        self.links = links
        self._clock = clock
        fast = links.lanes[Lane.FAST]
        self._standing = Standing(fast, vouching, clock, on_doubt=on_doubt) if vouching else None
        self.group = GroupCommit(
            links.lanes[Lane.DURABLE], required, clock, on_redirect=on_redirect
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def doubt(self) -> str | None:
        """Why the primary may no longer speak for the fleet, or None."""
        return self._standing.doubt if self._standing is not None else None

    def doubt_for(self, operation: Operation[Any]) -> str | None:
        """Why `operation` is not to be written now, although it could be, or None."""
        return self.doubt if operation.fence is not _UNFENCED else None

    def start(self) -> None:
        """Work in the background."""
        parts = {
            "group commit": self.group.run,
            "the server's clock": self._keep_time,
            "the lanes' warmth": self._keep_warm,
        }
        if self._standing is not None:
            parts["the primary's standing"] = self._standing.run
        self._tasks = [asyncio.create_task(supervised(*part)) for part in parts.items()]

    async def close(self) -> None:
        """End all connections and tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.links.close()

    async def _keep_warm(self) -> None:
        while True:
            await asyncio.sleep(WARM_EVERY)
            self.links.keep_warm()

    async def _keep_time(self) -> None:
        """Our clock and the server's drift apart, and `not_after` is in the server's."""
        fast = self.links.lanes[Lane.FAST]
        while True:
            await asyncio.sleep(TIME_EVERY)
            asked_at = self._clock.monotonic()
            try:
                micros = _TIME.result(await fast.submit(_TIME, asked_at + TIME_LIMIT))
            except AragoraRedisError:  # the links say why
                continue
            sample = ServerTime(self._clock.monotonic(), micros)
            if sample.sampled_at - asked_at > PROMPT:
                continue
            for lane in self.links.lanes.values():
                lane.server_time = sample
