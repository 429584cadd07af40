"""A machine's clock that a test sets forward or back."""

from __future__ import annotations

import time


class Moved:
    """The clock of this machine, `by` seconds off."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.by = 0.0

    def wall(self) -> float:
        """Unix seconds, as the clock that was set says."""
        return time.time() + self.by
