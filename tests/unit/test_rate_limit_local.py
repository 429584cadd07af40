from __future__ import annotations

import pytest

from aragora_redis.rate_limit.gcra import Decision, Source, Tat, decide, decode
from aragora_redis.rate_limit.local import LocalLimiter, Record
from aragora_redis.rate_limit.policy import LimitPolicy
from aragora_redis.rate_limit.share import Share

WHOLE = Share(1.0)


def limiter(count: int = 1, seconds: int = 1, burst: int = 10, capacity: int = 50) -> LocalLimiter:
    policy = LimitPolicy("api", count, seconds * 1_000_000, burst)
    return LocalLimiter(policy, prefix="app", digest_key=b"key", capacity=capacity)


def admitted(local: LocalLimiter, record: Record, share: Share, now: float, tries: int) -> int:
    return sum(local.decide(record, 1, share, now).allowed for _ in range(tries))


def answer(local: LocalLimiter, cost: int, tokens_used_before: float) -> Decision:
    """What Redis would say to a check of a bucket with so many tokens gone."""
    tat = Tat(10**15 + int(tokens_used_before * local.policy.interval * 1e6), 0)
    return decode(local.policy, cost, decide(local.policy, tat, cost, 10**15)[0])


class Fleet:
    """Instances that hammer one subject, with a Redis (the exact model) that comes and goes."""

    def __init__(self, instances: int, **policy: int) -> None:
        self.locals = [limiter(**policy) for _ in range(instances)]
        self.share = Share(1 / instances)
        self.tat: Tat | None = None

    def check(self, local: LocalLimiter, now: float, *, redis: bool) -> bool:
        record = local.record("s")
        if (denial := local.recent_denial(record, 1, now)) is not None:
            return denial.allowed
        if not redis:
            return local.decide(record, 1, self.share, now).allowed
        micros = int(now * 1e6)
        for debtor, debt in local.debts(now):
            assert debtor is record
            _, self.tat = decide(local.policy, self.tat, debt, micros, "charge")
        reply, self.tat = decide(local.policy, self.tat, 1, micros)
        decision = decode(local.policy, 1, reply)
        local.note(record, 1, decision, now)
        return decision.allowed


def test_flapping_redis_is_no_amnesty() -> None:
    fleet = Fleet(4, count=10, seconds=60, burst=10)
    total = 0
    for tick in range(6000):
        up = tick // 200 % 2 == 0
        for local in fleet.locals:
            total += fleet.check(local, 1000 + tick / 100, redis=up)
    assert 18 <= total <= 21  # ideal is 20; buckets full at each switch would admit 139


def test_total_outage_admits_the_limit_once_over_the_fleet() -> None:
    fleet = Fleet(4, count=100, seconds=1, burst=200)
    total = sum(
        fleet.check(local, 1000 + tick / 1000, redis=False)
        for tick in range(10_000)
        for local in fleet.locals
    )
    assert 0.95 * 1200 <= total <= 1.05 * 1200


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 10])
def test_full_share_is_given_whole_whatever_floats_do(divisor: int) -> None:
    local = limiter(count=6, burst=3 * divisor)
    for n in range(50):
        record = local.record(str(n))
        assert admitted(local, record, Share(1 / divisor), 835_498.8781294496 + n * 0.1, 9) == 3


def test_share_of_an_owner_is_one_token_at_its_part_of_the_rate() -> None:
    local = limiter(count=3, seconds=3600, burst=3)
    record = local.record("s")
    assert admitted(local, record, Share(1 / 3), 0.0, 5) == 1
    assert admitted(local, record, Share(1 / 3), 3590.0, 5) == 0
    assert admitted(local, record, Share(1 / 3), 3600.0, 5) == 1


def test_fast_rates_keep_their_pace() -> None:
    local = limiter(count=700_000, burst=7)
    record = local.record("s")
    start = 5_000_000.0
    total = sum(local.decide(record, 1, WHOLE, start + n * 1e-6).allowed for n in range(100_000))
    assert 0.99 * 70_000 <= total <= 1.01 * 70_007


def test_who_owns_nothing_refuses_and_charges_nothing() -> None:
    local = limiter()
    record = local.record("s")
    decision = local.decide(record, 1, Share(0.0), 5.0)
    assert (decision.allowed, decision.remaining, decision.source) == (False, 0, Source.LOCAL)
    assert decision.retry_after > 0
    assert local.debts(5.0) == []


def test_local_decision_tells_what_is_left() -> None:
    local = limiter()
    record = local.record("s")
    decision = local.decide(record, 3, Share(0.5), 5.0)
    assert (decision.allowed, decision.limit, decision.remaining) == (True, 10, 2)
    assert (decision.retry_after, decision.reset_after) == (0.0, 6.0)
    refused = local.decide(record, 3, Share(0.5), 5.0)
    assert (refused.allowed, refused.remaining) == (False, 2)
    assert (refused.retry_after, refused.reset_after) == (2.0, 6.0)
    assert local.decide(record, 3, Share(0.5), 7.0).allowed


def test_looking_takes_nothing() -> None:
    local = limiter()
    record = local.record("s")
    assert local.decide(record, 0, WHOLE, 5.0).remaining == 10
    assert local.debts(5.0) == []


def test_switch_does_not_refill_what_redis_has_given_away() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 1, answer(local, 1, 7), 5.0)
    assert admitted(local, record, Share(0.5), 5.0, 9) == 1
    local.note(record, 1, answer(local, 1, 0), 5.0)
    assert admitted(local, record, Share(0.5), 5.0, 9) == 0


def test_refusal_is_repeated_until_its_time_and_counts_down() -> None:
    local = limiter()
    record = local.record("s")
    assert local.recent_denial(record, 1, 100.0) is None
    local.note(record, 3, answer(local, 3, 9), 100.0)
    assert local.recent_denial(record, 2, 100.0) is None
    denial = local.recent_denial(record, 3, 100.5)
    assert denial is not None
    assert (denial.allowed, denial.source, denial.remaining) == (False, Source.DENY_CACHE, 1)
    assert denial.retry_after == pytest.approx(1.5)
    assert denial.reset_after == pytest.approx(8.5)
    more = local.recent_denial(record, 5, 100.5)
    assert more is not None
    assert more.retry_after == pytest.approx(3.5)
    assert local.recent_denial(record, 3, 102.0) is None


def test_refusal_is_repeated_for_five_seconds_at_most() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 10, answer(local, 10, 10), 100.0)
    denial = local.recent_denial(record, 10, 104.9)
    assert denial is not None
    assert denial.retry_after == pytest.approx(5.1)
    assert local.recent_denial(record, 10, 105.0) is None


def test_smallest_refused_cost_stands() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 3, answer(local, 3, 9), 100.0)
    local.note(record, 5, answer(local, 5, 9), 100.0)
    assert local.recent_denial(record, 3, 100.0) is not None
    local.note(record, 2, answer(local, 2, 9), 100.0)
    assert local.recent_denial(record, 2, 100.0) is not None
    assert local.recent_denial(record, 1, 100.0) is None
    local.note(record, 8, answer(local, 8, 9), 103.0)
    assert local.recent_denial(record, 7, 103.0) is None
    assert local.recent_denial(record, 8, 103.0) is not None


def test_admission_of_as_much_ends_the_refusal() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 3, answer(local, 3, 9), 100.0)
    local.note(record, 1, answer(local, 1, 9), 100.0)
    assert local.recent_denial(record, 3, 100.1) is not None
    local.note(record, 3, answer(local, 3, 0), 100.0)
    assert local.recent_denial(record, 3, 100.1) is None


def test_refused_look_refuses_nobody() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 0, answer(local, 0, 10), 100.0)
    assert local.recent_denial(record, 1, 100.0) is None


def test_debts_are_what_was_admitted_locally_and_has_not_come_back() -> None:
    local = limiter()
    one, two = local.record("one"), local.record("two")
    local.note(one, 1, answer(local, 1, 2), 100.0)
    assert admitted(local, one, Share(0.5), 100.0, 3) == 3
    assert admitted(local, two, Share(0.5), 100.0, 1) == 1
    assert local.debts(104.0) == [(one, 1)]
    assert local.debts(104.0) == []
    assert not local._indebted


def test_debt_that_was_handed_over_is_not_owed_again() -> None:
    local = limiter()
    record = local.record("s")
    admitted(local, record, WHOLE, 100.0, 5)
    local.debts(100.0)
    admitted(local, record, WHOLE, 100.0, 1)
    assert local.debts(100.0) == [(record, 1)]


def test_debts_are_handed_over_page_by_page() -> None:
    local = limiter()
    records = [local.record(str(n)) for n in range(3)]
    for record in records:
        local.decide(record, 1, WHOLE, 5.0)
    assert local.debts(5.0, 2) == [(record, 1) for record in records[:2]]
    assert local.debtors == 1


def test_debt_follows_a_share_that_changes() -> None:
    local = limiter()
    record = local.record("s")
    local.decide(record, 4, Share(1.0), 100.0)
    local.decide(record, 1, Share(0.25), 102.0)
    assert local.debts(102.0) == [(record, 3)]


def test_least_recently_used_is_dropped_with_its_debt() -> None:
    local = limiter(capacity=2)
    first, second = local.record("1"), local.record("2")
    for record in (first, second):
        local.decide(record, 1, WHOLE, 5.0)
    assert local.record("1") is first
    local.record("3")
    assert len(local) == 2
    assert local.record("1") is first
    assert local.debts(5.0) == [(first, 1)]


@pytest.mark.parametrize("length", [1, 1000])
def test_reset_forgets_bucket_refusal_and_debt(length: int) -> None:
    local = limiter()
    record = local.record("s" * length)
    local.decide(record, 10, WHOLE, 5.0)
    local.note(record, 1, answer(local, 1, 10), 5.0)
    local.forget("s" * length)
    assert local.debts(5.0) == []
    fresh = local.record("s" * length)
    assert local.recent_denial(fresh, 1, 5.0) is None
    assert local.decide(fresh, 10, WHOLE, 5.0).allowed


def test_long_subjects_are_told_apart_and_not_kept() -> None:
    local = limiter()
    a, b = local.record("x" * 1000 + "a"), local.record("x" * 1000 + "b")
    assert a is not b
    assert a.key != b.key
    assert local.record("x" * 1000 + "a") is a
    assert all(len(name) <= 128 for name in local._records)


def test_record_shows_nothing_of_its_subject() -> None:
    record = limiter().record("user:alice")
    assert b"alice" not in record.key
    assert "alice" not in repr(record)


def test_a_reset_elsewhere_ends_the_refusal_here() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 1, answer(local, 1, 10), 5.0)
    assert local.recent_denial(record, 1, 5.0) is not None
    local.on_reset(b"another key")
    assert local.recent_denial(record, 1, 5.0) is not None
    local.on_reset(record.key)
    assert local.recent_denial(record, 1, 5.0) is None
    assert local.decide(record, 10, WHOLE, 5.0).allowed
    other = local.record("used up and not refused")
    local.note(other, 10, answer(local, 10, 0), 5.0)
    local.on_reset(other.key)
    assert local.decide(other, 10, WHOLE, 5.0).allowed


def test_a_redis_that_has_lost_what_it_knew_gives_no_second_burst_here() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 1, answer(local, 1, 9), 5.0)
    local.note(record, 1, answer(local, 1, 0), 5.0)
    assert not local.decide(record, 1, WHOLE, 5.0).allowed


def test_what_came_back_elsewhere_is_known_here_with_the_next_answer_of_redis() -> None:
    local = limiter()
    record = local.record("s")
    local.note(record, 1, answer(local, 1, 8), 5.0)
    local.on_returned(record.key)
    brought = LimitPolicy("api", 1, 1_000, 1)
    local.note(record, 1, answer(local, 1, 0), 5.0, asked=brought)
    assert not local.decide(record, 9, WHOLE, 5.0).allowed, "that limit sees no further"
    local.note(record, 1, answer(local, 1, 0), 5.0)
    assert local.decide(record, 9, WHOLE, 5.0).allowed
    local.on_returned(record.key)
    local.note(record, 1, answer(local, 1, 0), 5.0)
    assert not local.decide(record, 9, WHOLE, 5.0).allowed, "Redis has not heard of nine"


def test_another_limit_of_the_subject_is_known_here_with_the_next_answer_of_redis() -> None:
    local = limiter(count=10, seconds=3600)
    record = local.record("s")
    local.note(record, 1, answer(local, 1, 9), 5.0)
    own = LimitPolicy("api", 1000, 1_000_000, 1000)
    local.note(record, 1, decode(own, 1, 9 * own.period_us), 5.0, own=own)
    assert local.decide(record, 900, WHOLE, 5.0).allowed


def test_a_refusal_under_a_limit_of_its_own_is_not_repeated_after_that_has_ended() -> None:
    local = limiter(count=10)
    record = local.record("s")
    own = LimitPolicy("api", 1, 60_000_000, 5)
    refused = decode(own, 7, -2 * own.period_us)
    local.note(record, 7, refused, 5.0, own=own, own_until=6.0)
    assert local.recent_denial(record, 7, 5.9) is not None
    assert local.recent_denial(record, 7, 6.1) is None


def test_nobody_is_told_to_wait_for_longer_than_a_full_burst_takes() -> None:
    local = limiter(count=1, seconds=3600)
    record = local.record("s")
    local.note(record, 10, answer(local, 10, 0), 5.0)
    local.policy = limiter(count=1000).policy
    refused = local.decide(record, 1, WHOLE, 5.0)
    assert (refused.allowed, refused.reset_after) == (False, 0.01)


def test_a_debt_that_could_not_be_charged_is_owed_again() -> None:
    local = limiter()
    record = local.record("s")
    local.decide(record, 3, WHOLE, 5.0)
    assert local.debts(5.0) == [(record, 3)]
    assert not local.debtors
    local.restore(record, 3, 5.0)
    assert local.debtors
    assert local.debts(5.0) == [(record, 3)]


def test_what_redis_gave_back_does_not_hide_what_it_has_not_been_told() -> None:
    local = limiter(count=10, seconds=60, burst=10)
    record = local.record("s")
    assert admitted(local, record, WHOLE, 1000.0, 20) == 10
    local.note_returned(record, 0.0, 1000.0)
    assert not local.decide(record, 1, WHOLE, 1000.0).allowed
    local.debts(1000.0)
    local.note_returned(record, 0.0, 1000.0)
    assert local.decide(record, 1, WHOLE, 1000.0).allowed
