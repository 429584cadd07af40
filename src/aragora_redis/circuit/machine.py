"""The rules of a circuit breaker, as named transitions. Pure.

    closed --trip--> open --(open time over)--> half-open --enough successes--> closed
                      ^                             |
                      +---------- a failure --------+        forced open, forced closed: by hand

Half-open is not stored: it is open with the open time over. Source: M. Nygard, "Release It!";
the sliding window and its rates are those of resilience4j.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, NamedTuple, cast

from .policy import CircuitPolicy

LONGEST_DOUBLING = 6
"""Doublings of the open time at most: 64 times the first."""
CLOCK_TOLERANCE = 1_000_000
"""Microseconds by which clocks may differ before one counts as set back."""

Shown = Literal["closed", "open", "half-open", "forced-open", "forced-closed"]


class Phase(StrEnum):
    """What is stored of a circuit's state."""

    CLOSED = "closed"
    OPEN = "open"
    FORCED_OPEN = "forced-open"
    FORCED_CLOSED = "forced-closed"


@dataclass(frozen=True, slots=True)
class Standing:
    """A circuit's state. Of two, the later holds: by era, number, and end of the open time.

    Attributes:
        era: history of the data in which it was given; 0 where nothing is known.
        n: its number in that.
        until: Unix microseconds at which the open time, or what was forced, ends; 0 for never.
        opens: how often in a row it has opened.
        span: microseconds for which the open time, or what was forced, was given.
        reason: who forced it, when and why, see `note`.
    """

    era: int = 0
    n: int = 0
    phase: Phase = Phase.CLOSED
    until: int = 0
    opens: int = 0
    span: int = 0
    reason: str = field(default="", compare=False)

    @property
    def generation(self) -> tuple[int, int]:
        """What a permit carries, so that its result is not taken for one of a later state."""
        return self.era, self.n

    def later_than(self, other: Standing) -> bool:
        """Whether this one holds over the other."""
        return (*self.generation, self.until) > (*other.generation, other.until)

    def outlasts(self, now: int) -> bool:
        """Whether it would last for longer than it was given for: the clock was set back since."""
        return self.until - now > self.span + CLOCK_TOLERANCE

    def shown(self, now: int) -> Shown:
        """The state's name at an instant (Unix microseconds)."""
        if self.phase is Phase.OPEN:
            return "half-open" if now >= self.until else "open"
        if self.until and now >= self.until:
            return "closed"
        return cast(Shown, self.phase.value)

    def wait(self, now: int, open_for: float) -> float:
        """Seconds until it may be tried again; 0 where it lets calls through.

        One that is held open by hand may be at any time: an open time is sensible, at most.
        """
        left = max(self.until - now, 0) / 1e6
        match self.shown(now):
            case "open":
                return left
            case "forced-open":
                return min(left, open_for) if self.until else open_for
        return 0.0

    def told_at(self, server_now: int) -> int:
        """By which instant to go where a server tells it at that one (Unix microseconds).

        No state lasts for longer than it was given for, though a clock says so.
        """
        return max(server_now, self.until - self.span)


class Evidence(NamedTuple):
    """Calls of a window, of one instance or pooled, and how many instances saw what."""

    calls: int = 0
    failures: int = 0
    slow: int = 0
    reporting: int = 1
    failing: int = 1
    slowing: int = 1


def trips(policy: CircuitPolicy, seen: Evidence) -> bool:
    """Whether a closed circuit opens: on the pooled rates, and on the word of enough instances."""
    if seen.calls == 0 or seen.calls < policy.minimum_calls:
        return False
    needed = min(policy.reporters, seen.reporting)
    failing = seen.failures >= seen.calls * policy.failure_rate and seen.failing >= needed
    slow = seen.slow >= seen.calls * policy.slow_rate and seen.slowing >= needed
    return failing or slow


def open_time(policy: CircuitPolicy, opens: int) -> float:
    """Seconds for which a circuit is open that opens for the `opens`-th time in a row."""
    return policy.open_for * float(2 ** min(max(opens - 1, 0), LONGEST_DOUBLING))


def opened(standing: Standing, now: int, span: int) -> Standing:
    """The circuit, open for so many microseconds: by a trip, or a failed trial call.

    Its number is that of the state before; whoever stores it gives it the next.
    """
    opens = standing.opens + 1 if standing.phase is Phase.OPEN else 1
    return replace(standing, phase=Phase.OPEN, until=now + span, span=span, opens=opens, reason="")


def closed(standing: Standing) -> Standing:
    """The circuit, closed by successful trial calls; see `opened`."""
    return replace(standing, phase=Phase.CLOSED, until=0, span=0, opens=0)


def begun_again(standing: Standing, now: int) -> Standing:
    """One that outlasts what it was given for, for all of that from now on; see `opened`.

    How much of it has passed is not known any more.
    """
    return replace(standing, until=now + standing.span)
