from __future__ import annotations

from itertools import count as counting

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.errors import InvalidInputError
from aragora_redis.rate_limit.gcra import Tat, decide, decode, level, validate_cost
from aragora_redis.rate_limit.policy import LimitPolicy, parse_rate

NOW = 1_795_400_000_000_000
TEN = LimitPolicy("ten", 1, 10_000_000, 3)

RATES = ("3 per 2 seconds", "9 per 10 seconds", "1000 per minute", "1 per day", "700000/second")

policies = st.builds(
    LimitPolicy,
    name=st.just("p"),
    count=st.integers(1, 10**6),
    period_us=st.integers(1, 10**8),
    burst=st.integers(1, 1000),
)


def policy_of(rate: str, burst: int) -> LimitPolicy:
    count, period_us = parse_rate(rate)
    return LimitPolicy("p", count, period_us, burst)


@given(
    policies,
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_never_more_than_burst_and_rate_in_any_window(
    policy: LimitPolicy, moves: list[tuple[float, float]]
) -> None:
    now, tat = NOW, None
    admitted: list[tuple[int, int]] = []
    for pause, part in moves:
        now += int(pause * policy.period_us / policy.count)
        cost = 1 + int(part * (policy.burst - 1))
        reply, tat = decide(policy, tat, cost, now)
        if reply >= 0:
            admitted.append((now, cost))
    for start in range(len(admitted)):
        total = 0
        for at, cost in admitted[start:]:
            total += cost
            ideal = policy.full + (at - admitted[start][0]) * policy.count
            assert total * policy.period_us <= ideal


@pytest.mark.parametrize("rate", RATES)
def test_saturated_limit_admits_what_it_promises(rate: str) -> None:
    policy = policy_of(rate, burst=2)
    now, tat, admitted = NOW, None, 0
    for tick in counting(1):
        reply, tat = decide(policy, tat, 1, now)
        admitted += reply >= 0
        # Calls come at uneven times, several for each token and at least a microsecond apart.
        now += max(1, policy.period_us // policy.count * (tick * 7 % 13) // 40)
        if admitted == 2000:
            break
    ideal = 2 + (now - NOW) * policy.count / policy.period_us
    assert 0.99 * ideal <= admitted <= ideal


@given(policies, st.integers(-(10**12), 10**12), st.integers(0, 1000))
def test_waiting_as_told_is_enough_and_no_less(policy: LimitPolicy, ahead: int, part: int) -> None:
    cost = 1 + part % policy.burst
    tat = Tat(NOW + ahead, 0)
    reply, after = decide(policy, tat, cost, NOW)
    if reply >= 0:
        assert after is not None
        assert level(policy, after, NOW) == reply
        return
    assert after is tat
    clamped = Tat(*divmod(NOW * policy.count + level(policy, tat, NOW), policy.count))
    wait_us = -(reply // policy.count)
    assert decide(policy, clamped, cost, NOW + wait_us)[0] >= 0
    assert decide(policy, clamped, cost, NOW + wait_us - 1)[0] < 0


@given(st.integers(0, 2**53), st.integers(0, 2**52))
def test_stored_value_is_read_back(us: int, frac: int) -> None:
    assert Tat.parse(Tat(us, frac).encode()) == Tat(us, frac)


def test_decision_of_an_allowed_check() -> None:
    decision = decode(TEN, 2, 20_000_000)
    assert decision.allowed
    assert (decision.limit, decision.remaining) == (3, 1)
    assert (decision.retry_after, decision.reset_after) == (0.0, 20.0)
    assert decision.source == "redis"
    with pytest.raises(AttributeError):
        decision.allowed = False  # type: ignore[misc]


def test_decision_of_a_refused_check() -> None:
    reply, _ = decide(TEN, Tat(NOW + 15_000_000, 0), 2, NOW)
    decision = decode(TEN, 2, reply)
    assert not decision.allowed
    assert decision.remaining == 1
    assert (decision.retry_after, decision.reset_after) == (5.0, 15.0)


@pytest.mark.parametrize(
    ("ahead", "allowed", "remaining", "retry_after"),
    [(0, True, 3, 0.0), (20, True, 1, 0.0), (21, False, 0, 1.0), (30, False, 0, 10.0)],
)
def test_look_says_what_a_check_would_meet(
    ahead: int, *, allowed: bool, remaining: int, retry_after: float
) -> None:
    reply, _ = decide(TEN, Tat(NOW + ahead * 1_000_000, 0), 0, NOW)
    decision = decode(TEN, 0, reply)
    assert (decision.allowed, decision.remaining) == (allowed, remaining)
    assert (decision.retry_after, decision.reset_after) == (retry_after, float(ahead))


@given(policies, st.integers(0, 10**9), st.integers(0, 1000))
def test_remaining_is_what_still_passes(policy: LimitPolicy, ahead: int, part: int) -> None:
    cost = 1 + part % policy.burst
    reply, after = decide(policy, Tat(NOW + ahead, 0), cost, NOW)
    remaining = decode(policy, cost, reply).remaining
    assert remaining == 0 or decide(policy, after, remaining, NOW)[0] >= 0
    assert decide(policy, after, remaining + 1, NOW)[0] < 0


@pytest.mark.parametrize("cost", [0, 1, 3])
def test_cost_within_the_burst(cost: int) -> None:
    validate_cost(TEN, cost)


@pytest.mark.parametrize("cost", [-1, 2**60, 1.0, True, "1", None])
def test_cost_that_can_never_pass_is_refused(cost: object) -> None:
    with pytest.raises(InvalidInputError, match="its burst, 3"):
        validate_cost(TEN, cost)  # type: ignore[arg-type]
