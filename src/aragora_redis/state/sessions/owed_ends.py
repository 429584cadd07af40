"""What is still owed to sessions that have ended, done in the background.

A rotated id leads on for some seconds and is ended only then; without an end it would come back,
with all that the session has, where a failover loses the rotation. And a session that was ended
while Redis could not be asked is still in it, perhaps under an id that is not known here; so are
those of a user, which only Redis can name.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ...clock import Clock
from ...sessions.ids import SessionRef
from ...tokens.entry import Entry
from ..revocations.revocations import Revocations
from .held_ends import HeldEnd, HeldEnds

_log = logging.getLogger(__name__)

PENDING = 65_536
"""Tombstones, and removals, that may wait; beyond that the first is done early, or dropped."""
CALL = 128
RETRY_AFTER = 1.0
"""Seconds between attempts to remove."""


class Removal(NamedTuple):
    """A session that has its tombstone, and may still be in Redis.

    Attributes:
        ref: where it was.
        user: the index of its user, None where it has none or that is not known.
        expires_at: its absolute end, in Unix seconds.
        before: digests of ids that it is known to have had.
    """

    ref: SessionRef
    user: SessionRef | None
    expires_at: float
    before: tuple[bytes, ...] = ()


class _Due(NamedTuple):
    at: float
    number: int
    tombstone: Entry


class OwedEnds:
    """Ends rotated ids, each when its time has come, and removes what could not be removed.

    Args:
        held: ends of a user's sessions, which are carried out when Redis can be asked.
        server_now: the server's clock in Unix seconds.
    """

    def __init__(
        self,
        revocations: Revocations,
        held: HeldEnds,
        clock: Clock,
        server_now: Callable[[], float],
    ) -> None:
        self._revocations = revocations
        self._held = held
        self._clock = clock
        self._server_now = server_now
        self._due: list[_Due] = []
        self._number = 0
        self._removals: deque[Removal] = deque(maxlen=PENDING)
        self._retry_at = 0.0
        self._wake = asyncio.Event()

    def end(self, tombstone: Entry, *, after: float) -> None:
        """End an id `after` seconds from now."""
        self._number += 1
        due = _Due(self._clock.monotonic() + after, self._number, tombstone)
        heapq.heappush(self._due, due)
        self._wake.set()

    def remove(self, removal: Removal) -> None:
        """Try to remove a session again, until Redis has answered."""
        self._removals.append(removal)
        self._wake.set()

    def hold(self, end: HeldEnd) -> bool:
        """Hold a user's end until it is carried out; False where there is no room."""
        self._wake.set()
        return self._held.hold(end)

    async def run(
        self,
        remove: Callable[[Removal], Awaitable[bool]],
        carry_out: Callable[[HeldEnd], Awaitable[bool]],
    ) -> None:
        """Do what is due, until cancelled; `remove` and `carry_out` say whether Redis answered."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            while self._due and (self._due[0].at <= now or len(self._due) > PENDING):
                await self._end_some(now)
            if (self._removals or self._held) and now >= self._retry_at:
                self._retry_at = now + RETRY_AFTER
                await self._remove_some(remove)
                await self._carry_out_some(carry_out)
            nexts = [self._due[0].at] if self._due else []
            nexts += [self._retry_at] if self._removals or self._held else []
            try:
                async with asyncio.timeout(max(min(nexts) - now, 0.01) if nexts else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def end_all(self) -> None:
        """End all ids that wait, before their time: nobody would do it later."""
        due, self._due = self._due, []
        self._revocations.leave([each.tombstone for each in due])
        if lost := sum(end.spared is not None or end.only is not None for end in self._held):
            _log.warning(
                "%d ends of users' sessions were held here only, and never reached Redis", lost
            )

    async def _end_some(self, now: float) -> None:
        due: list[Entry] = []
        while (
            self._due and len(due) < CALL and (self._due[0].at <= now or len(self._due) > PENDING)
        ):
            due.append(heapq.heappop(self._due).tombstone)
        await self._revocations.end_sessions(due)

    async def _remove_some(self, remove: Callable[[Removal], Awaitable[bool]]) -> None:
        """Try each once, until one is not answered: then the others would not be either."""
        for _ in range(len(self._removals)):
            removal = self._removals.popleft()
            if removal.expires_at <= self._server_now():
                continue
            if not await remove(removal):
                self._removals.append(removal)
                return

    async def _carry_out_some(self, carry_out: Callable[[HeldEnd], Awaitable[bool]]) -> None:
        """Carry out what is held, until one is not answered."""
        for end in self._held:
            if end.until > self._server_now() and not await carry_out(end):
                self._held.postpone(end.home)
                return
            self._held.drop(end)
