"""What a rate limit is: a rate as an exact fraction, a burst, and what to do in an outage."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from math import gcd
from typing import Final

from ..errors import InvalidInputError, UnknownPolicyError
from ..names import validate_name

EXACT: Final = 2**52
"""Spans stay below this, so that the sum of two is still exact in Lua's doubles."""

RATE_FORMS: Final = 'like "100/second", "3 per 2 seconds" or "1000 per minute"'

_UNITS_US: Final = {
    unit: micros
    for micros, units in (
        (1_000, ("ms", "millisecond", "milliseconds")),
        (1_000_000, ("s", "sec", "second", "seconds")),
        (60_000_000, ("m", "min", "minute", "minutes")),
        (3_600_000_000, ("h", "hour", "hours")),
        (86_400_000_000, ("day", "days")),
    )
    for unit in units
}
_NAMES_SHOWN: Final = 10
"""How many limits an error lists."""
_RATE: Final = re.compile(
    r"\s*(?P<count>[0-9]{1,16})(?:\s*/\s*|\s+per\s+)(?:(?P<number>[0-9]{1,16})\s*)?(?P<unit>[a-z]+)\s*"
)


class OnOutage(StrEnum):
    """Who decides while Redis cannot."""

    FAIL_OPEN = "fail-open"
    """Each instance, at its share of the limit."""
    FAIL_CLOSED = "fail-closed"
    """Nobody: every check is refused."""


def parse_rate(text: str) -> tuple[int, int]:
    """Read a rate as (count, period in microseconds), as it was written.

    Raises:
        InvalidInputError: the text is not a rate.
    """
    found = _RATE.fullmatch(text)
    if found is None or found["unit"] not in _UNITS_US:
        raise InvalidInputError(
            "that is not a rate",
            remedy=f"write one {RATE_FORMS}; units are {', '.join(_UNITS_US)}",
        )
    count, number = int(found["count"]), int(found["number"] or 1)
    if not count or not number:
        raise InvalidInputError("the rate has a zero", remedy="use numbers from 1")
    return count, number * _UNITS_US[found["unit"]]


def unknown_limit(defined: Iterable[str], *, written: str | None = None) -> UnknownPolicyError:
    """The error for a name that no limit has.

    What was asked for is not repeated, because a client may have sent it: a token in the wrong
    place.

    Args:
        defined: the names that there are.
        written: what was asked for, where it stands in the program, so that no client has sent it.
    """
    names = sorted(defined)
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    more = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    are = "are" if len(names) > 1 else "is"
    there_are = f"there {are} {shown}{more}" if names else "none is defined"
    which = "limit of that name" if written is None else f"limit {written!r}"
    return UnknownPolicyError(
        f"there is no {which}: {there_are}",
        remedy="define it in the file that ARAGORA_POLICIES names",
    )


@dataclass(frozen=True, slots=True, init=False)
class Rate:
    """How many tokens come back in which time, and how many there are at most.

    `Rate("500/second")`, `Rate("3 per 2 seconds", burst=10)`: a limit that is a subject's own.

    Attributes:
        count: tokens that come back in `period_us`, in lowest terms.
        period_us: microseconds.
        burst: tokens of a full bucket; the count as written, unless given.

    Raises:
        InvalidInputError: the text is no rate, a number is out of range or too large to be exact.
    """

    count: int
    period_us: int
    burst: int

    def __init__(self, rate: str, burst: int | None = None) -> None:
        if not isinstance(rate, str):
            raise InvalidInputError("a rate is a text", remedy=f"write one {RATE_FORMS}")
        count, period_us = parse_rate(rate)
        burst = count if burst is None else burst
        if type(burst) is not int or burst < 1:
            raise InvalidInputError("a burst is a whole number from 1")
        divisor = gcd(count, period_us)
        _require_exact(count // divisor, period_us // divisor, burst)
        for name, value in (
            ("count", count // divisor),
            ("period_us", period_us // divisor),
            ("burst", burst),
        ):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        """The rate and the burst, such as `5 per second, burst 10`."""
        return f"{_in_words(self.count, self.period_us)}, burst {self.burst}"


def validate_rate(limit: Rate) -> None:
    """Check what a caller gives as a subject's own limit.

    Raises:
        InvalidInputError: it is none; the text of a rate, most likely.
    """
    if not isinstance(limit, Rate):
        raise InvalidInputError("a limit is a Rate", remedy='give Rate("500/second", burst=2000)')


def _in_words(count: int, period_us: int) -> str:
    """A rate exactly, over as few units of time as can be, and the smallest among equals."""

    def over(unit: str) -> int:
        return period_us // gcd(count * _UNITS_US[unit], period_us)

    unit = min(("second", "minute", "hour", "day"), key=over)
    span = over(unit)
    many = count * _UNITS_US[unit] * span // period_us
    return f"{many} per {unit}" if span == 1 else f"{many} per {span} {unit}s"


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """A token bucket: `count` tokens per `period_us`, at most `burst` at once.

    The rate is brought to its lowest terms. Spans of time are integers in units of 1/`count`
    microseconds, in which one token takes exactly `period_us`.

    Attributes:
        on_outage: None follows the global setting.
        co_locate: the limit within whose subjects this one counts: its buckets lie in the same
            hash slot, so that a Redis Cluster can decide both in one step.
        shadow: it counts and refuses nobody; decisions say what it would have done.
        lease: tokens that an instance takes at once, to give them away without asking; 0 for none.
        full: span that a full burst takes to come back.
        interval: seconds that one token takes to come back.
        per_second: units of `full` in a second.
        window: seconds in which a full bucket comes back.
        hash: digest of the parameters, the same in every process.

    Raises:
        InvalidInputError: a parameter is out of range, or the numbers are too large to be exact.
    """

    name: str
    count: int
    period_us: int
    burst: int
    on_outage: OnOutage | None = None
    co_locate: str | None = None
    shadow: bool = False
    lease: int = 0
    full: int = field(init=False, repr=False)
    interval: float = field(init=False, repr=False)
    per_second: float = field(init=False, repr=False, compare=False)
    window: float = field(init=False, repr=False, compare=False)
    hash: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        validate_name(self.name, "a limit")
        if min(self.count, self.period_us, self.burst) < 1:
            raise InvalidInputError("count, period and burst of a limit are at least 1")
        if not 0 <= self.lease <= self.burst:
            raise InvalidInputError(
                "a lease is larger than the burst", remedy="use a tenth of the burst, or less"
            )
        divisor = gcd(self.count, self.period_us)
        count, period_us = self.count // divisor, self.period_us // divisor
        _require_exact(count, period_us, self.burst)
        parameters = f"{count}/{period_us} {self.burst} {self.on_outage or ''}"
        if self.co_locate:
            parameters += f" {self.co_locate}"
        if self.shadow or self.lease:
            parameters += f" {self.shadow} {self.lease}"
        set_field = object.__setattr__
        set_field(self, "count", count)
        set_field(self, "period_us", period_us)
        set_field(self, "full", self.burst * period_us)
        set_field(self, "interval", period_us / count / 1e6)
        set_field(self, "per_second", count * 1e6)
        set_field(self, "window", self.full / self.per_second)
        set_field(self, "hash", blake2b(parameters.encode(), digest_size=8).hexdigest())

    @property
    def rate(self) -> str:
        """The rate in words, exactly, such as `100 per second`."""
        return _in_words(self.count, self.period_us)

    def at(self, count: int, period_us: int, burst: int) -> LimitPolicy:
        """This limit with another rate and burst; itself where they are the same."""
        if (count, period_us, burst) == (self.count, self.period_us, self.burst):
            return self
        return _at(self, count, period_us, burst)

    def under(self, limit: Rate | None) -> LimitPolicy:
        """This limit with the rate and burst that a call brings, if it does.

        Raises:
            InvalidInputError: what it brings is no `Rate`.
        """
        if limit is None:
            return self
        validate_rate(limit)
        return self.at(limit.count, limit.period_us, limit.burst)


@lru_cache(maxsize=1024)
def _at(policy: LimitPolicy, count: int, period_us: int, burst: int) -> LimitPolicy:
    return replace(
        policy, count=count, period_us=period_us, burst=burst, lease=min(policy.lease, burst)
    )


def _require_exact(count: int, period_us: int, burst: int) -> None:
    if count >= EXACT or period_us >= EXACT:
        raise InvalidInputError(
            "the rate is too large to be kept exactly",
            remedy=f"use a count below {EXACT} and a period below {EXACT // 86_400_000_000} days",
        )
    if burst * period_us >= EXACT:
        raise InvalidInputError(
            f"a burst of {burst} is too large to be kept exactly at this rate",
            remedy=f"a burst of up to {(EXACT - 1) // period_us} fits",
        )
