"""What every way to hand over is made of: steps that are timed, limited, and brought to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError

from ...clock import Clock
from ..waiting import until
from .report import Phase, Progress

T = TypeVar("T")

STEP_LIMIT = 2.0
"""Seconds for one command."""
LOOK_EVERY = 0.05
VERIFY_LIMIT = 30.0

OnPhase = Callable[[Phase], None]


class BackedOutError(Exception):
    """It cannot go on; everything is as it was."""


class AdriftError(Exception):
    """It cannot go on, and who is primary now is not known."""


class Steps:
    """Does one thing after the other and takes the time of each."""

    def __init__(self, clock: Clock, progress: Progress, on_phase: OnPhase) -> None:
        self.clock = clock
        self._on_phase = on_phase
        self.progress = progress

    def now(self) -> float:
        """Monotonic seconds."""
        return self.clock.monotonic()

    async def phase(self, phase: Phase, work: Awaitable[None]) -> None:
        """Do the work of a phase."""
        self._on_phase(phase)
        began = self.now()
        await work
        self.progress.seconds[phase] = self.now() - began

    async def until(self, reached: Callable[[], Awaitable[bool]], limit: float) -> bool:
        """Whether it came about within `limit` seconds."""
        return await until(reached, limit, clock=self.clock, every=LOOK_EVERY)

    def note_unverified(self, what: str) -> None:
        """Something is left for a human to look at."""
        self.progress.notes.append(f"not verified: {what}")


def reason(error: Exception) -> str:
    """What went wrong, and what to do where the login is the reason."""
    if isinstance(error, NoPermissionError):
        return (
            f"{error} (log in as one who may: ARAGORA_REDIS_USERNAME and "
            "ARAGORA_REDIS_SENTINEL_USERNAME, in deploy/redis `operator`)"
        )
    return str(error) or "no answer"


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Have it done even if we are cancelled meanwhile, however often; then we are.

    Raises:
        CancelledError: we were cancelled, and it is done.
        Exception: of the work, also where we were cancelled: what became of it matters more.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # Unlike `await task` this leaves it alone when we are cancelled.
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    done = task.result()
    if cancelled is not None:
        raise cancelled
    return done


async def limited(asked: Any) -> Any:
    """The answer to one command.

    Raises:
        TimeoutError: it does not come in time.
    """
    async with asyncio.timeout(STEP_LIMIT):
        return await asked
