"""Whom limits refuse most: counted in bounded memory, as good as matters where many are refused.

Source: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements
in data streams" (Space-Saving), 2005: whoever is refused more often than one in `COUNTERS` times is
among those kept, with a count that is never too low.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

COUNTERS = 64
WINDOW = 60.0
"""Seconds; counted are the window that has begun, and the whole one before it."""


class Subject(NamedTuple):
    """Who, as a digest, by which limit."""

    policy: str
    digest: bytes


class Refusals:
    """Counts them."""

    def __init__(self) -> None:
        self._before: Counter[Subject] = Counter()
        self._now: Counter[Subject] = Counter()
        self._begun_at = float("-inf")

    def count(self, policy: str, digest: bytes, now: float) -> None:
        """One refusal, at `now` (monotonic seconds)."""
        self._turn(now)
        subject, kept = Subject(policy, digest), self._now
        if subject in kept or len(kept) < COUNTERS:
            kept[subject] += 1
            return
        least = min(kept, key=kept.__getitem__)
        kept[subject] = kept.pop(least) + 1

    def top(self, most: int, now: float) -> tuple[tuple[Subject, int], ...]:
        """The most frequent of the last one to two minutes."""
        self._turn(now)
        return tuple((self._before + self._now).most_common(most))

    def _turn(self, now: float) -> None:
        passed = now - self._begun_at
        if passed >= WINDOW:
            self._before = self._now if passed < 2 * WINDOW else Counter()
            self._now, self._begun_at = Counter(), now
