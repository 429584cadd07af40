"""Ids that were rotated away, until they are ended for good.

A rotated id leads on for some seconds. It is ended when they are over and not at once; without an
end it would come back, with all that the session has, where a failover loses the rotation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from ..clock import Clock
from ..tokens.entry import Entry
from .tokens import Tokens

PENDING = 65_536
"""Ids that may wait; beyond that the oldest is ended early."""
CALL = 128


class _Due(NamedTuple):
    at: float
    tombstone: Entry


class RotatedIds:
    """Ends rotated ids in the background, each when its time has come."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._pending: deque[_Due] = deque()
        self._wake = asyncio.Event()

    def add(self, tombstone: Entry, grace: float) -> None:
        """End an id `grace` seconds from now."""
        self._pending.append(_Due(self._clock.monotonic() + grace, tombstone))
        self._wake.set()

    async def run(self) -> None:
        """End what is due, until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            while self._pending and (self._pending[0].at <= now or len(self._pending) > PENDING):
                await self._end_some(now)
            try:
                async with asyncio.timeout(self._pending[0].at - now if self._pending else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def end_all(self) -> None:
        """End all that wait, before their time: nobody would do it later."""
        while self._pending:
            await self._end_some(float("inf"))

    async def _end_some(self, now: float) -> None:
        due: list[Entry] = []
        while (
            self._pending
            and len(due) < CALL
            and (self._pending[0].at <= now or len(self._pending) > PENDING)
        ):
            due.append(self._pending.popleft().tombstone)
        await self._tokens.end_sessions(due)
