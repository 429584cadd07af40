"""Calls that wait until their limit gives: in line, and never in vain.

The order is that of their coming within an instance; between instances there is none, and who does
not wait asks past the line. Who could not be served in time is refused at once, and what those
before him wait for counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ..clock import Clock
from ..rate_limit.gcra import Decision

MOST_WAITING: Final = 1000
"""Calls of one instance that may wait for their limit; others are refused as though none waited."""
_SHORTEST: Final = 0.001
"""Seconds between two attempts at least."""

Check = Callable[[], Awaitable[Decision]]


class Waiter:
    """One call that waits; whoever it waits for may let it give up.

    Unlike a cancelled call, one that gave up says what became of it: a check that is under way is
    not cut off, and may still give.
    """

    def __init__(self) -> None:
        self.cost = 0
        self.gave_up = False
        self._woken = asyncio.Event()

    def give_up(self) -> None:
        """Wait no longer."""
        self.gave_up = True
        self._woken.set()

    def wake(self) -> None:
        """Look again: something has changed."""
        self._woken.set()

    async def rest(self, seconds: float) -> None:
        """Until it is woken, or so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()


class Waiting:
    """The lines of calls that wait, one for each bucket."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._lines: dict[bytes, deque[Waiter]] = {}

    async def until_given(
        self, key: bytes, waiter: Waiter, check: Check, refused: Decision, wait: float
    ) -> Decision:
        """Ask again whenever it may give, for at most `wait` seconds; not where that is in vain.

        Args:
            key: of the bucket.
            waiter: the call, with its cost.
            check: asks once.
            refused: what it said before.
            wait: seconds.
        """
        until = self._clock.monotonic() + wait
        before = self._lines.get(key, ())
        if self._count >= MOST_WAITING or _wait_for(refused, before) > wait:
            return refused
        line = self._lines.setdefault(key, deque())
        line.append(waiter)
        self._count += 1
        try:
            return await self._in_line(line, waiter, check, refused, until)
        finally:
            self._count -= 1
            was_first = line[0] is waiter
            line.remove(waiter)
            if not line:
                del self._lines[key]
            elif was_first:
                line[0].wake()

    def wake(self, key: bytes) -> None:
        """Something came back to this bucket before its time, or it has another limit."""
        line = self._lines.get(key)
        if line:
            line[0].wake()

    async def _in_line(
        self,
        line: deque[Waiter],
        waiter: Waiter,
        check: Check,
        said: Decision,
        until: float,
    ) -> Decision:
        while not waiter.gave_up:
            if line[0] is waiter:
                said = await check()
            left = until - self._clock.monotonic()
            if said.allowed or left <= 0:
                break
            if line[0] is not waiter:
                await waiter.rest(left)
            elif said.retry_after > left:
                break
            else:
                await waiter.rest(max(said.retry_after, _SHORTEST))
        return said


def _wait_for(refused: Decision, before: Iterable[Waiter]) -> float:
    """Seconds until it can be served, at the earliest, behind those that wait already."""
    tokens = sum(waiter.cost for waiter in before)
    return refused.retry_after + tokens * refused.window / refused.limit
