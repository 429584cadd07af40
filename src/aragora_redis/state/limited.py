"""A limit around a piece of work: as a decorator, as a context, and for who would rather wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from ..clock import Clock
from ..errors import InvalidInputError, LimitExceededError
from ..rate_limit.gcra import Decision

P = ParamSpec("P")
R = TypeVar("R")

MOST_WAITING: Final = 1000
"""Calls of one instance that may wait for their limit; others are refused as though none waited."""
_SHORTEST: Final = 0.001
"""Seconds between two attempts at least."""

Check = Callable[[], Awaitable[Decision]]


@dataclass(slots=True)
class _Queue:
    """Calls that wait for one subject."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Waiting:
    """Lets calls wait until their limit gives, one after the other for the same subject.

    The order is that of their coming within an instance; between instances there is none.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._queues: dict[tuple[str, str], _Queue] = {}

    async def until_given(
        self, whose: tuple[str, str], check: Check, refused: Decision, wait: float
    ) -> Decision:
        """Ask again whenever it may give, for at most `wait` seconds; not where that is in vain.

        Args:
            whose: policy and subject.
            check: asks once.
            refused: what it said before.
            wait: seconds.
        """
        until = self._clock.monotonic() + wait
        if refused.retry_after > wait or self._count >= MOST_WAITING:
            return refused
        queue = self._queues.get(whose) or self._queues.setdefault(whose, _Queue())
        queue.waiting += 1
        self._count += 1
        try:
            try:
                await asyncio.wait_for(queue.turn.acquire(), wait)
            except TimeoutError:
                return refused
            try:
                return await self._first_in_line(check, until)
            finally:
                queue.turn.release()
        finally:
            self._count -= 1
            queue.waiting -= 1
            if not queue.waiting:
                del self._queues[whose]

    async def _first_in_line(self, check: Check, until: float) -> Decision:
        while True:
            decision = await check()
            left = until - self._clock.monotonic()
            if decision.allowed or decision.retry_after > left:
                return decision
            await asyncio.sleep(max(decision.retry_after, _SHORTEST))


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit around work, see `RateLimits.limit`.

    Attributes:
        policy: name of the limit.
        acquire: takes tokens for a subject, or says that there are none.
        subject: whom the limit counts, where that is always the same.
        key: says it of a call's arguments.
    """

    policy: str
    acquire: Callable[[str], Awaitable[Decision]]
    subject: str | None = None
    key: Callable[..., str] | None = None

    async def __aenter__(self) -> Decision:
        return await self._enter(self._subject((), {}))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, work: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """Limit an async function."""

        @wraps(work)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            await self._enter(self._subject(args, kwargs))
            return await work(*args, **kwargs)

        return limited

    def _subject(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        return subject_of_call(self.subject, self.key, args, kwargs)

    async def _enter(self, subject: str) -> Decision:
        decision = await self.acquire(subject)
        if not decision.allowed:
            raise LimitExceededError(self.policy, decision.retry_after)
        return decision


def subject_of_call(
    subject: str | None,
    key: Callable[..., str] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> str:
    """Whom a limited call counts for.

    Raises:
        InvalidInputError: nothing says it.
    """
    if subject is not None:
        return subject
    if key is None:
        raise InvalidInputError(
            "nothing says whom this limit counts", remedy="give a subject, or a key for decorators"
        )
    return key(*args, **kwargs)
