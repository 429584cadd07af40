"""Time: the only module that reads a clock.

Everything else takes a `Clock`, so that a test can hold time still.
"""

from __future__ import annotations

import random
import time
from typing import Protocol

from msgspec import Struct


class Clock(Protocol):
    """Source of time. Durations come from `monotonic`, instants that are shared from `wall`."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, never going back."""

    def wall(self) -> float:
        """Unix time in seconds."""


class SystemClock:
    """The clocks of this machine."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


SYSTEM_CLOCK = SystemClock()


class ServerTime(Struct, frozen=True):
    """An estimate of a Redis server's clock: one sample of TIME, carried on by our own clock."""

    sampled_at: float
    """Monotonic seconds at which the sample was taken."""
    micros: int
    """What the server said, in Unix microseconds."""

    def at(self, monotonic: float) -> int:
        """The server's clock at a monotonic instant, in Unix microseconds."""
        return self.micros + int((monotonic - self.sampled_at) * 1_000_000)


def full_jitter(attempt: int, *, base: float, cap: float) -> float:
    """Seconds to wait before retry number `attempt` (from 0).

    Uniform between 0 and the exponential bound, which spreads a fleet's reconnects best.
    Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    """
    return random.uniform(0.0, min(cap, base * 2 ** min(attempt, 32)))
