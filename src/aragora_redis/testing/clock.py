"""A clock that a test moves."""

from __future__ import annotations

from ..clock import SYSTEM_CLOCK
from ..times import Duration, in_seconds


class FakeClock:
    """Stands still until `advance`; a `Clock` for everything that takes one.

    Tasks in the background still sleep by the loop's own time.
    """

    def __init__(self, wall: float | None = None) -> None:
        """Begin at `wall` (Unix seconds), by default now."""
        self._wall = SYSTEM_CLOCK.wall() if wall is None else wall
        self._monotonic = 1000.0

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return self._monotonic

    def wall(self) -> float:
        """Unix time in seconds."""
        return self._wall

    def advance(self, seconds: Duration) -> None:
        """Let time pass.

        Raises:
            InvalidInputError: that is no span of time; it does not go back.
        """
        passed = in_seconds(seconds, "seconds")
        self._wall += passed
        self._monotonic += passed
