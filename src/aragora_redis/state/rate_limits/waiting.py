"""Calls that wait until their limit gives: in line, and never in vain.

The order is that of their coming within an instance; between instances there is none, and who does
not wait asks past the line. Who could not be served in time is refused at once, and what those
before him wait for counts.

Who asks several limits as one stands in the line of the one that refuses for longest, and holds up
nobody at the others. Where another one is that by the next attempt, he goes to the end of its line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from ...clock import Clock
from ...rate_limit.gcra import Decision
from ...rate_limit.joint import Asked, JointDecision

MOST_WAITING: Final = 1000
"""Calls of one instance that may wait for their limit; others are refused as though none waited."""
_SHORTEST: Final = 0.001
"""Seconds between two attempts at least."""


class Said(Protocol):
    """What one attempt came to."""

    @property
    def allowed(self) -> bool:
        """Whether it gave."""

    @property
    def retry_after(self) -> float:
        """Seconds until it may."""


S = TypeVar("S", bound=Said)


class Bar(NamedTuple):
    """What a call that was refused waits for.

    Attributes:
        key: of the bucket.
        cost: tokens that it takes there.
        refusal: what that bucket said.
    """

    key: bytes
    cost: int
    refusal: Decision


def longest(asked: Sequence[Asked], said: JointDecision) -> Bar:
    """Of several limits that were asked as one, and not all gave, the one that refuses longest."""
    refused = (
        Bar(each.record.key, each.cost, decision)
        for each, decision in zip(asked, said.decisions, strict=True)
        if decision is not None and not decision.allowed
    )
    return max(refused, key=lambda bar: bar.refusal.retry_after)


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


class _Call(Struct, Generic[S], frozen=True):
    waiter: Waiter
    check: Callable[[], Awaitable[S]]
    bar: Callable[[S], Bar]
    until: float


class Waiting:
    """The lines of calls that wait, one for each bucket."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._lines: dict[bytes, deque[Waiter]] = {}

    async def until_given(
        self,
        waiter: Waiter,
        check: Callable[[], Awaitable[S]],
        said: S,
        bar: Callable[[S], Bar],
        wait: float,
    ) -> S:
        """Ask again whenever it may give, for at most `wait` seconds; not where that is in vain.

        Args:
            waiter: the call.
            check: asks once.
            said: what it said before.
            bar: what a refusal means to wait for.
            wait: seconds.
        """
        call = _Call(waiter, check, bar, self._clock.monotonic() + wait)
        left: bytes | None = None
        while not said.allowed and (before := bar(said)).key != left:
            line = self._lines.get(before.key, ())
            if self._count >= MOST_WAITING or _wait_for(before, line) > self._left(call):
                break
            said = await self._stand(call, said, before, asked=left is not None)
            left = before.key
        return said

    def wake(self, key: bytes) -> None:
        """Something came back to this bucket before its time, or it has another limit."""
        line = self._lines.get(key)
        if line:
            line[0].wake()

    async def _stand(self, call: _Call[S], said: S, before: Bar, *, asked: bool) -> S:
        """Wait at one bucket, until it gives or does not in time, or another one is the bar."""
        waiter, line = call.waiter, self._lines.setdefault(before.key, deque())
        waiter.cost = before.cost
        line.append(waiter)
        self._count += 1
        try:
            return await self._in_line(call, line, said, before.key, asked=asked)
        finally:
            self._count -= 1
            was_first = line[0] is waiter
            line.remove(waiter)
            if not line:
                del self._lines[before.key]
            elif was_first:
                line[0].wake()

    async def _in_line(
        self, call: _Call[S], line: deque[Waiter], said: S, key: bytes, *, asked: bool
    ) -> S:
        waiter = call.waiter
        while not waiter.gave_up:
            if line[0] is waiter and not asked:
                said = await call.check()
            asked, left = False, self._left(call)
            if said.allowed or left <= 0 or call.bar(said).key != key:
                break
            if line[0] is not waiter:
                await waiter.rest(left)
            elif said.retry_after > left:
                break
            else:
                await waiter.rest(max(said.retry_after, _SHORTEST))
        return said

    def _left(self, call: _Call[S]) -> float:
        return call.until - self._clock.monotonic()


def _wait_for(bar: Bar, before: Iterable[Waiter]) -> float:
    """Seconds until it can be served, at the earliest, behind those that wait already."""
    tokens = sum(waiter.cost for waiter in before)
    return bar.refusal.retry_after + tokens * bar.refusal.window / bar.refusal.limit
