"""How long answers took, second by second of the last minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log

from ..clock import Clock

SECONDS = 60
LEAST, GROWTH, STEPS = 0.000_1, 1.25, 48
"""The classes into which durations fall: from 0.1 ms on, each a quarter longer, to 4 s."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What half of the answers, and 99 of 100, took at most: seconds, by class and so 25 % above.

    Attributes:
        count: how many answers these were.
        medians: of each of the last 60 seconds, the oldest first; None where nothing was answered.
        tails: the 99th percentiles likewise.
    """

    count: int
    median: float
    tail: float
    medians: tuple[float | None, ...]
    tails: tuple[float | None, ...]


class Latencies:
    """Takes durations in by class: a minute of them is sixty rows of counters."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: deque[list[int]] = deque(([] for _ in range(SECONDS + 1)), maxlen=SECONDS + 1)
        self._second = 0

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    def took(self, began: float) -> None:
        """An answer that was begun then is finished now."""
        now = self._clock.monotonic()
        self._advance(int(now))
        row = self._rows[-1] or self._begun()
        row[_class_of(now - began)] += 1

    def rows(self) -> list[list[int]]:
        """The counters of the last 60 seconds that are over; empty where nothing was answered."""
        self._advance(int(self._clock.monotonic()))
        return list(self._rows)[:-1]

    def _begun(self) -> list[int]:
        self._rows[-1] = [0] * (STEPS + 1)
        return self._rows[-1]

    def _advance(self, second: int) -> None:
        passed, self._second = min(second - self._second, SECONDS + 1), second
        for _ in range(passed):
            self._rows.append([])


def latency_of(rows: Sequence[Sequence[int]]) -> Latency | None:
    """What rows of counters come to; None where nothing was answered."""
    whole = [sum(each) for each in zip(*(row for row in rows if row), strict=True)]
    if not whole:
        return None
    return Latency(
        sum(whole),
        _quantile(whole, 0.5) or 0.0,
        _quantile(whole, 0.99) or 0.0,
        tuple(_quantile(row, 0.5) for row in rows),
        tuple(_quantile(row, 0.99) for row in rows),
    )


def _class_of(seconds: float) -> int:
    if seconds <= LEAST:
        return 0
    return min(ceil(log(seconds / LEAST, GROWTH)), STEPS)


def _quantile(row: Sequence[int], part: float) -> float | None:
    left = ceil(part * sum(row))
    for step, count in enumerate(row):
        left -= count
        if count and left <= 0:
            return LEAST * float(GROWTH**step)
    return None
