"""What came out well and what did not over the last minute, by source, in whole seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SECONDS = 60


@dataclass(frozen=True, slots=True)
class Rate:
    """What a source has allowed or done, and not, in each of the last 60 seconds, oldest first."""

    source: str
    allowed: tuple[int, ...]
    refused: tuple[int, ...]


class Rates:
    """Counts. A second is shown once it is over, so that a bar never grows backwards."""

    def __init__(self) -> None:
        self._series: dict[str, deque[list[int]]] = {}
        self._second = 0

    def count(self, source: str, *, allowed: bool, now: float) -> None:
        """One more, at `now` (monotonic seconds)."""
        self._advance(int(now))
        series = self._series.get(source)
        if series is None:  # sources are few: words of ours
            series = self._series[source] = _empty()
        series[-1][not allowed] += 1

    def last_minute(self, now: float) -> tuple[Rate, ...]:
        """The sources that were counted lately, by name."""
        self._advance(int(now))
        return tuple(
            Rate(source, *zip(*list(series)[:-1], strict=True))
            for source, series in sorted(self._series.items())
        )

    def _advance(self, second: int) -> None:
        passed, self._second = min(second - self._second, SECONDS + 1), second
        if passed <= 0:
            return
        for series in self._series.values():
            series.extend([0, 0] for _ in range(passed))


def _empty() -> deque[list[int]]:
    return deque(([0, 0] for _ in range(SECONDS + 1)), maxlen=SECONDS + 1)
