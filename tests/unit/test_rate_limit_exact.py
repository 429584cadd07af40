"""Admitted ÷ ideal, for years of a fake clock: the model that the scripts are held to.

What real servers and processes admit is measured by `benchmarks/exactness.py`.
"""

from __future__ import annotations

import random

import pytest

from aragora_redis.rate_limit.gcra import Tat, decide
from aragora_redis.rate_limit.policy import LimitPolicy, Rate

EPOCH = 1_795_400_000_000_000
HOUR = 3_600_000_000
RATES = ["3 per 2 seconds", "9 per 10 seconds", "1000 per minute", "1 per day", "700000 per second"]
TOKENS = 8000
"""Length of a history: so many tokens come back in it."""


def policy(rate: str, burst: int | None = None) -> LimitPolicy:
    read = Rate(rate, burst)
    return LimitPolicy("api", read.count, read.period_us, read.burst)


def history(limit: LimitPolicy, processes: int, seed: int) -> tuple[list[int], int]:
    """Microseconds at which tokens were given, to processes that each ask when they like."""
    chance = random.Random(seed)
    span = TOKENS * limit.period_us // limit.count
    between = max(span // (TOKENS * 4), 1)
    due = [chance.randrange(between * processes) for _ in range(processes)]
    tat, given = Tat(EPOCH, 0), list[int]()
    for _ in range(limit.burst):  # a history begins with an empty bucket
        tat = decide(limit, tat, 1, EPOCH)[1] or tat
    while (first := min(due)) < span:
        at = due.index(first)
        due[at] += chance.randint(1, 2 * between * processes)
        # A microsecond brings more than a token of the fastest rate.
        cost = -(-4 * limit.count // limit.period_us)
        reply, after = decide(limit, tat, cost, EPOCH + first)
        if reply >= 0 and after is not None:
            tat = after
            given += [first] * cost
    return given, span


@pytest.mark.parametrize("processes", [1, 16])
@pytest.mark.parametrize("rate", RATES)
def test_admitted_is_within_a_hundredth_of_ideal_over_all_of_it_and_each_part(rate, processes):
    limit = policy(rate, burst=20)
    given, span = history(limit, processes, seed=processes)
    for parts in (1, 2, 8):
        length = span / parts
        for part in range(parts):
            admitted = sum(part * length <= at < (part + 1) * length for at in given)
            ideal = TOKENS / parts
            assert abs(admitted - ideal) <= 0.01 * ideal, (part, parts)


@pytest.mark.parametrize("rate", RATES)
def test_no_window_ever_holds_more_than_the_burst_and_what_came_back_in_it(rate):
    limit = policy(rate, burst=20)
    given, _ = history(limit, 16, seed=7)
    for tokens in (20, 21, 30, 500):
        for first, last in zip(given, given[tokens:], strict=False):
            came_back = (last - first) * limit.count / limit.period_us
            assert tokens + 1 <= limit.burst + came_back + 1e-6


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_clock_that_steps_locks_nobody_out_for_longer_than_a_burst(rate, step):
    """Whoever asks meanwhile, and is refused, waits no longer for that."""
    limit = policy(rate)
    _, tat = decide(limit, None, limit.burst, EPOCH)
    now, burst_us = EPOCH + step, -(-limit.full // limit.count)
    for asked in (0, burst_us // 3, burst_us // 2, burst_us - 1):
        reply, tat = decide(limit, tat, limit.burst, now + asked)
        assert (reply >= 0) == (step > burst_us) or step > 0
        if reply >= 0:
            return
        assert -reply <= limit.full - asked * limit.count + limit.count
    assert decide(limit, tat, limit.burst, now + burst_us)[0] >= 0
