"""When a circuit opens, for how long, and what closes it again."""

from __future__ import annotations

from msgspec import Struct

from ..errors import InvalidInputError

LONGEST = 86_400.0
"""Seconds that a window, or the first open time, may last."""
MOST = 1_000_000
"""Calls, probes or reporters that a policy may ask for."""


class CircuitPolicy(Struct, frozen=True, kw_only=True):
    """What `[circuits.NAME]` says. Durations are seconds, rates are fractions of the calls.

    Attributes:
        window: how long a call counts.
        minimum_calls: pooled calls in the window below which no rate is trusted.
        failure_rate: from this rate of failures on the circuit opens.
        slow_call: a call that took longer than this is slow.
        slow_rate: from this rate of slow calls on the circuit opens.
        open_for: how long it stays open the first time; doubled with each failed trial.
        half_open_probes: trial calls in flight at once fleet-wide, and successes that close it.
        reporters: instances that must see trouble themselves, as far as so many report at all.
        max_concurrent: guarded calls that one instance has under way at once; 0 for no limit.
        max_waiting: calls that may wait there for one of those to end,
        max_wait: and for how long at most.

    Raises:
        InvalidInputError: a value is out of range.
    """

    window: float = 10.0
    minimum_calls: int = 5
    failure_rate: float = 0.5
    slow_call: float = 2.0
    slow_rate: float = 0.5
    open_for: float = 1.0
    half_open_probes: int = 3
    reporters: int = 2
    max_concurrent: int = 0
    max_waiting: int = 0
    max_wait: float = 1.0

    def __post_init__(self) -> None:
        for name, least, value in (
            ("window", 1.0, self.window),
            ("slow_call", 0.001, self.slow_call),
            ("open_for", 0.01, self.open_for),
            ("max_wait", 0.001, self.max_wait),
        ):
            if not least <= value <= LONGEST:
                raise InvalidInputError(f"{name} is not from {least:g} to {LONGEST:g} seconds")
        for name, rate in (("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)):
            if not 0 < rate <= 1:
                raise InvalidInputError(
                    f"{name} is not above 0 and at most 1", remedy="0.5 is half of the calls"
                )
        for name, fewest, number in (
            ("minimum_calls", 1, self.minimum_calls),
            ("half_open_probes", 1, self.half_open_probes),
            ("reporters", 1, self.reporters),
            ("max_concurrent", 0, self.max_concurrent),
            ("max_waiting", 0, self.max_waiting),
        ):
            if not fewest <= number <= MOST:
                raise InvalidInputError(f"{name} is not a whole number from {fewest} to {MOST}")


DEFAULT = CircuitPolicy()
