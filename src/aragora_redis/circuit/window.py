"""What this instance has seen of a circuit's calls, over a sliding window."""

from __future__ import annotations

from .machine import Evidence

SLICES = 10
"""Parts of the window that leave it as a whole."""


class Window:
    """Counts of the last `seconds`, exact to a tenth of that. Instants are monotonic seconds."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / SLICES
        self._at = 0
        self._ends_at = 0.0
        self.clear()

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count one call that has just ended."""
        if now >= self._ends_at:
            self._advance(now)
        counts = self._newest
        counts[0] += 1
        counts[1] += failed
        counts[2] += slow

    def seen(self, now: float) -> Evidence:
        """The calls that the window holds."""
        self._advance(now)
        calls, failures, slow = (sum(column) for column in zip(*self._counts, strict=True))
        return Evidence(calls, failures, slow, 1, int(failures > 0), int(slow > 0))

    def clear(self) -> None:
        """Forget all: the circuit has changed its state."""
        self._counts = [[0, 0, 0] for _ in range(SLICES)]
        self._newest = self._counts[self._at % SLICES]

    def _advance(self, now: float) -> None:
        at = int(now / self._slice)
        for gone in range(self._at + 1, min(at, self._at + SLICES) + 1):
            self._counts[gone % SLICES] = [0, 0, 0]
        self._at = max(at, self._at)
        self._newest = self._counts[self._at % SLICES]
        self._ends_at = (self._at + 1) * self._slice
