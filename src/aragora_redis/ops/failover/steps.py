"""What every way to hand over is made of: phases that are timed, and errors that end them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...clock import Clock
from ..waiting import until
from .report import Phase, Progress

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
