"""The limits of Aragora as policies.

Aragora names a limit while it runs, by requests a minute and a burst; policies are there before.
So there is one for each pair in use, and what lies between two gets the lower one: never more is
let through than was asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain

from msgspec.structs import replace

from ..policies import Policies
from ..rate_limit.policy import LimitPolicy, OnOutage

RATES = (*range(1, 31), 40, 45, 50, 60, 75, 80, 90, 100, 120, 150, 180, 200, 240, 250, 300, 400)
RATES = (*RATES, 500, 600, 750, 800, 1000, 1200, 1500, 2000, 2500, 3000, 5000, 10_000)
"""Requests a minute; Aragora 2.11 uses 1 to 5000."""
BURSTS = (1, 2, 3, 4, 5, 10, 15, 20, 30, 50, 100, 150, 200, 300, 500, 1000)
"""Bursts that are smaller than the rate; others are the rate, or twice as much."""
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000

FAILURES = LimitPolicy(
    name="aragora-failures",
    count=15,
    period_us=DAY_US,
    burst=100,
    on_outage=OnOutage.FAIL_CLOSED,
)
"""Counts failed logins: what is taken is their number. 15 are forgotten in a day, all of Aragora's
thresholds."""
HOLD = LimitPolicy(
    name="aragora-hold",
    count=10,
    period_us=1_000_000,
    burst=10 * 86_400,
    on_outage=OnOutage.FAIL_CLOSED,
)
"""A span of time, in tenths of a second: as long as the bucket is not full, something is held."""


def limit_name(per_minute: int, burst: int) -> str | None:
    """The policy for so many requests a minute with a burst; None below one request."""
    if per_minute < 1 or burst < 1:
        return None
    rate = RATES[bisect_right(RATES, per_minute) - 1]
    bursts = _bursts(rate)
    return _name(rate, bursts[max(bisect_right(bursts, burst) - 1, 0)])


def with_aragora(policies: Policies) -> Policies:
    """A policies file's content, and what Aragora needs beside it."""
    ours = {each.name: each for each in chain(_ladder(), (FAILURES, HOLD))}
    said = " ".join((policies.hash, *(each.hash for each in ours.values())))
    return replace(
        policies,
        limits={**policies.limits, **ours},
        hash=blake2b(said.encode(), digest_size=8).hexdigest(),
    )


def _ladder() -> Iterator[LimitPolicy]:
    for rate in RATES:
        for burst in _bursts(rate):
            yield LimitPolicy(
                name=_name(rate, burst),
                count=rate,
                period_us=MINUTE_US,
                burst=burst,
                on_outage=OnOutage.FAIL_OPEN,
            )


def _bursts(rate: int) -> tuple[int, ...]:
    return (*(burst for burst in BURSTS if burst < rate), rate, 2 * rate)


def _name(rate: int, burst: int) -> str:
    return f"aragora-{rate}-per-minute-{burst}"
