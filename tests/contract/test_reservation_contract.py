"""Reservations, leases and limits of a subject's own: the scripts and their models, step by step.

The scripts run on a real server with a clock of the test's instead of `TIME`, so that both sides
decide at the same microsecond and hours pass at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aragora_redis.memory import Memory
from aragora_redis.rate_limit import operations
from aragora_redis.rate_limit.model import MODELS
from aragora_redis.rate_limit.operations import Lease
from aragora_redis.rate_limit.policy import LimitPolicy, Rate
from aragora_redis.rate_limit.reservation import Found, Reservation

KEY = b"t:l:{s}:api"
EPOCH = 1_795_400_000_123_456
MINUTE = 60_000_000
HOUR = 60 * MINUTE


class BothSides:
    """Runs each operation on a server and on the models, and holds them to the same answer."""

    def __init__(self, client: Any) -> None:
        self._raw = client
        self.now = EPOCH
        self.memory = Memory(lambda: self.now)

    def clear(self) -> None:
        self.now = EPOCH
        self.memory = Memory(lambda: self.now)
        self._raw.flushdb()

    def spoil(self, value: bytes) -> None:
        self._raw.set(KEY, value)
        self.memory.delete(KEY)
        self.memory.put(KEY, value)

    def run(self, operation: Any) -> Any:
        script, key = operation.script, operation.keys[0]
        for each in operation.keys:
            if self.memory.get(each) is None:
                self._raw.delete(each)  # it has ended: the server's own clock has not come so far
        source = script.source.decode().replace(
            "redis.call('TIME')", "{redis.call('GET', 'clock-s'), redis.call('GET', 'clock-us')}"
        )
        seconds, micros = divmod(self.now, 1_000_000)
        self._raw.mset({"clock-s": seconds, "clock-us": micros})
        args = (*operation.shared, *operation.args)
        reply = self._raw.eval(source, len(operation.keys), *operation.keys, 0, *args)
        if script.batchable:
            [reply] = reply
        sent = tuple(each if isinstance(each, bytes) else str(each).encode() for each in args)
        modelled = MODELS[script.name](self.memory, operation.keys, sent)
        assert reply == modelled, (script.name, args)
        kept, ends = self.memory.get(key), self.memory.expiry(key)
        if kept is not None:
            assert self._raw.get(key) == kept, (script.name, args)
            assert (self._raw.pttl(key) == -1) == (ends is None)
        return operation.read(reply)


@pytest.fixture
def both(on_server):
    sides = BothSides(on_server._raw)
    sides.clear()
    return sides


def policy(rate: str, burst: int | None = None) -> LimitPolicy:
    read = Rate(rate, burst)
    return LimitPolicy("api", read.count, read.period_us, read.burst)


API = policy("100 per 10 seconds")
"""One token in 100 ms."""


def left(both: BothSides, limit: LimitPolicy = API) -> float:
    """Tokens in the bucket."""
    answer = both.run(operations.peek(limit, KEY))
    reply = answer if isinstance(answer, int) else answer.reply
    return (limit.full - reply) / limit.period_us


def reserve(both: BothSides, cost: int, name: str, ttl: float = 60) -> Reservation:
    grant = both.run(operations.reserve(API, KEY, cost, name, ttl))
    assert grant.tokens == cost
    return Reservation("api", KEY, name, cost, grant.until_us)


def settle(both: BothSides, reservation: Reservation, used: int) -> operations.Settled:
    settled: operations.Settled = both.run(
        operations.settle(API, reservation, used, late=300, channel=b"c")
    )
    return settled


def test_what_is_settled_below_the_estimate_comes_back_exactly(both):
    held = reserve(both, 50, "a" * 16)
    assert left(both) == 50
    assert settle(both, held, 20)[:2] == (Found.HELD, 0)
    assert left(both) == 80
    both.now += 1_000_000
    assert left(both) == 90, "as though 20 had been taken in the first place"


def test_what_is_settled_above_it_is_charged_and_the_rest_is_visible(both):
    held = reserve(both, 50, "a" * 16)
    assert settle(both, held, 130)[:2] == (Found.HELD, 30)
    assert left(both) == 0


def test_a_settlement_counts_once_whatever_is_sent_again(both):
    held = reserve(both, 50, "a" * 16)
    first = settle(both, held, 20)
    assert settle(both, held, 0) == first
    assert settle(both, held, 100) == first
    assert left(both) == 80
    assert both.run(operations.reserve(API, KEY, 10, "b" * 16, 60)).tokens == 10
    assert both.run(operations.reserve(API, KEY, 10, "b" * 16, 60)).tokens == 10
    assert left(both) == 70, "a reservation sent twice is one"


def test_what_nobody_settles_comes_back_and_a_late_settlement_is_charged_once(both):
    held = reserve(both, 90, "a" * 16, ttl=2)
    both.now += 1_999_999
    assert left(both) == pytest.approx(30, abs=1e-4)
    both.now += 1
    assert left(both) == 100
    for _ in range(2):
        assert settle(both, held, 40).found is Found.LAPSED
    assert left(both) == 60
    both.now += 301 * 1_000_000
    assert settle(both, held, 40).found is Found.PAST
    assert left(both) == 100


def test_a_lost_reservation_costs_what_was_used(both):
    held = reserve(both, 50, "a" * 16)
    both.run(operations.reset(KEY, b"c"))
    for _ in range(2):
        assert settle(both, held, 30).found is Found.LOST
    assert left(both) == 70


def test_a_refund_brings_no_second_burst(both):
    """100 reserved, regenerated and given back leave 100: not 100 on top of what came meanwhile."""
    held = reserve(both, 100, "a" * 16)
    both.now += 5_000_000
    assert both.run(operations.check(API, KEY, 50)) == API.full
    settle(both, held, 0)
    assert left(both) == 50, "as though only 50 had ever been taken"


def test_a_refund_takes_nothing_from_another_reservation(both):
    one = reserve(both, 60, "a" * 16)
    both.now += 10_000_000
    two = reserve(both, 80, "b" * 16)
    both.run(operations.check(API, KEY, 20))
    settle(both, one, 0)
    assert left(both) == 0, "what it held has come back long ago"
    settle(both, two, 80)
    assert left(both) == 0


def test_leased_tokens_stay_in_the_burst_until_they_are_used(both):
    granted = both.run(operations.lease(API, KEY, Lease(1, 40, 1, "a" * 16, 5, "", 0)))
    assert granted.tokens == 40
    both.now += 4_900_000
    assert left(both) == 60, "40 are with an instance: the bucket is no fuller than that"
    both.run(operations.lease(API, KEY, Lease(0, 0, 1, "", 5, "a" * 16, 10)))
    assert left(both) == 100 - 10
    both.run(operations.lease(API, KEY, Lease(1, 100, 4, "b" * 16, 5, "", 0)))
    assert left(both) == 90 - 22, "a quarter of what is there, for four that share it"
    both.now += 5_000_000
    assert left(both) == 78, "who died with tokens has used them"
    assert both.run(operations.lease(API, KEY, Lease(90, 90, 1, "c" * 16, 5, "", 0))).tokens == 0


def test_what_was_reserved_elsewhere_is_held_as_far_as_it_is_there_and_not_once_it_is_settled(both):
    both.run(operations.check(API, KEY, 70))
    made = Reservation("api", KEY, "a" * 16, 50, EPOCH + MINUTE)
    assert both.run(operations.hold(API, made, 60)).tokens == 30
    assert both.run(operations.hold(API, made, 60)).tokens == 30, "sent twice it is one"
    assert both.run(operations.hold(API, replace(made, name="b" * 16), 60)).tokens == 0
    for _ in range(2):
        assert settle(both, made, 10).settlement(10).returned == 20, "of the 30 that were there"
    assert left(both) == 20
    assert both.run(operations.hold(API, made, 60)).tokens == 0
    assert left(both) == 20


def test_what_is_kept_lapses_later_and_what_had_lapsed_is_held_again_as_far_as_it_is_there(both):
    made = reserve(both, 50, "a" * 16, ttl=60)
    lease(both, 10, "b" * 16)
    both.now += 40_000_000
    assert both.run(operations.hold(API, made, 60)).tokens == 50
    assert both.run(operations.hold(API, made, 1)).until_us == both.now + 60_000_000, "no sooner"
    both.now += 59_000_000
    assert both.run(operations.hold(API, made, 2)).tokens == 50
    assert settle(both, made, 5).settlement(5).returned == 45
    assert both.run(operations.hold(API, made, 60)).tokens == 0, "it is settled"

    made = reserve(both, 50, "c" * 16, ttl=1)
    both.now += 2_000_000
    both.run(operations.check(API, KEY, int(left(both)) - 20))
    assert both.run(operations.hold(API, made, 60)).tokens == 20
    assert left(both) == 0


def lease(both: BothSides, tokens: int, name: str, ttl: float = 60) -> None:
    assert both.run(operations.lease(API, KEY, Lease(1, tokens, 1, name, ttl, "", 0))).tokens


def test_a_reservation_that_lapses_leaves_the_tokens_that_are_leased(both):
    lease(both, 50, "a" * 16)
    reserve(both, 30, "b" * 16, ttl=30)
    both.now += 31_000_000
    assert both.run(operations.check(API, KEY, 51)) < 0
    assert left(both) == 50


def test_a_settlement_beside_a_lease_leaves_the_tokens_that_are_leased(both):
    lease(both, 50, "a" * 16)
    held = reserve(both, 30, "b" * 16)
    both.now += 31_000_000
    assert settle(both, held, 0).answer == API.full / 2
    assert left(both) == 50


def test_leased_tokens_are_used_when_their_lease_ends_whatever_comes_back_then(both):
    lease(both, 40, "a" * 16, ttl=31)
    lease(both, 10, "b" * 16, ttl=61)
    reserve(both, 30, "c" * 16, ttl=31)
    held = reserve(both, 20, "d" * 16)
    both.now += 31_000_000
    assert left(both) == 50, "40 were used, 10 are leased"
    both.run(operations.lease(API, KEY, Lease(0, 0, 1, "", 5, "b" * 16, 10)))
    assert left(both) == 50
    settle(both, held, 0)
    assert left(both) == 50, "what was reserved has come back long ago"


def test_a_limit_of_its_own_holds_until_it_ends_and_keeps_what_was_used(both):
    assert both.run(operations.check(API, KEY, 100)) == API.full
    own = Rate("1000 per 10 seconds", burst=400)
    assert not both.run(operations.set_quota(API, KEY, own, 60, b"c"))
    answer = both.run(operations.check(API, KEY, 200))
    assert answer[1:] == (own.count, own.period_us, own.burst, EPOCH + MINUTE)
    assert answer.reply == 300 * own.period_us, "100 were used already"
    assert both.run(operations.check(API, KEY, 101)).reply < 0
    assert both.run(operations.reset(KEY, b"c"))
    assert both.run(operations.check(API, KEY, 400)).reply >= 0
    both.now += MINUTE
    assert both.run(operations.check(API, KEY, 101)) < 0, "its time is over"
    assert not both.run(operations.set_quota(API, KEY, own, None, b"c"))
    both.now += 1000 * MINUTE
    assert both.run(operations.peek(API, KEY)).until == 0
    assert both.run(operations.set_quota(API, KEY, None, None, b"c"))
    assert left(both) == 100


def test_what_was_used_under_a_limit_that_is_over_comes_back_at_the_rate_since(both):
    """As when it is taken away by hand, and not when that limit would have given it back."""
    hourly = policy("1000 per hour")
    both.run(operations.set_quota(hourly, KEY, Rate("10 per day"), 3600, b"c"))
    for _ in range(10):
        both.run(operations.check(hourly, KEY, 1))
    assert left(both, hourly.at(10, 24 * HOUR, 10)) == 0
    held = both.run(operations.peek(hourly, KEY))
    assert held.until == EPOCH + HOUR
    both.now += HOUR
    assert left(both, hourly) == 990
    both.now += HOUR // 200
    assert left(both, hourly) == 995
    assert both.run(operations.check(hourly, KEY, 995)) >= 0
    assert left(both, hourly) == 0


def test_a_limit_that_is_over_keeps_nobody_for_longer_than_its_arrival_time(both):
    daily = policy("10 per day")
    both.run(operations.set_quota(daily, KEY, Rate("1000 per hour"), 3600, b"c"))
    both.run(operations.check(daily, KEY, 1000))
    both.now += HOUR
    assert left(both, daily) == 10


def test_what_is_reserved_under_a_limit_that_is_over_is_settled_under_the_next(both):
    hourly = policy("1000 per hour")
    both.run(operations.set_quota(hourly, KEY, Rate("10 per day"), 600, b"c"))
    both.run(operations.check(hourly, KEY, 4))
    grant = both.run(operations.reserve(hourly, KEY, 6, "a" * 16, 3600))
    both.now += 600_000_000
    assert left(both, hourly) == 990
    held = Reservation("api", KEY, "a" * 16, 6, grant.until_us)
    settled = both.run(operations.settle(hourly, held, 2, late=300, channel=b"c"))
    assert settled[:2] == (Found.HELD, 0)
    assert left(both, hourly) == 994


def test_what_is_of_another_type_is_replaced(both):
    both._raw.hset(KEY, "field", "value")
    reserve(both, 50, "a" * 16)
    assert left(both) == 50


def test_after_a_clock_was_set_back_nobody_waits_for_longer_than_a_burst(both):
    both.run(operations.check(API, KEY, 50))
    reserve(both, 50, "a" * 16)
    both.now -= HOUR
    assert both.run(operations.check(API, KEY, 100)) == -API.full, "10 s, which begin now"
    both.now += 6_000_000
    assert both.run(operations.check(API, KEY, 60)) == API.full
    both.run(operations.set_quota(API, KEY, Rate("1000/second"), None, b"c"))
    both.now -= HOUR
    assert both.run(operations.check(API, KEY, 1000)).reply == -100 * 1000
    both.now += 100_000
    assert both.run(operations.check(API, KEY, 1000)).reply > 0


def test_leases_and_reservations_end_no_later_because_the_clock_went_back(both):
    for letter in "abcd":
        both.run(operations.lease(API, KEY, Lease(25, 25, 1, letter * 16, 3, "", 0)))
    both.now -= HOUR
    assert both.run(operations.check(API, KEY, 1)) < 0
    both.now += 3_000_000
    assert left(both) == 0
    both.now += 5_000_000
    assert left(both) == 50


def test_a_limit_of_its_own_ends_no_later_because_the_clock_went_back(both):
    both.run(operations.set_quota(API, KEY, Rate("1000/second"), 60, b"c"))
    both.run(operations.check(API, KEY, 1000))
    both.now -= HOUR
    assert both.run(operations.check(API, KEY, 1000)).until == both.now + MINUTE
    both.now += MINUTE
    assert both.run(operations.check(API, KEY, 100)) == API.full


def test_a_reservation_that_lapsed_long_ago_is_written_alike(both):
    reserve(both, 1, "a" * 16, ttl=2)
    both.run(operations.set_quota(API, KEY, Rate("1/second"), None, b"c"))
    both.now += HOUR
    both.run(operations.set_quota(API, KEY, Rate("1/second"), 1, b"c"))
    assert both.run(operations.peek(API, KEY)).reply == 0


def test_a_limit_set_again_keeps_what_comes_back(both):
    own = Rate("1 per minute", burst=2)
    for _ in range(7):
        both.run(operations.set_quota(API, KEY, own, None, b"c"))
        if both.now == EPOCH:
            both.run(operations.check(API, KEY, 2))
        both.now += 10_000_000
    assert both.run(operations.check(API, KEY, 1)).reply >= 0


def test_what_was_leased_comes_back_from_when_the_lease_lapsed(both):
    both.run(operations.set_quota(API, KEY, Rate("100 per 10 seconds"), None, b"c"))
    both.run(operations.lease(API, KEY, Lease(60, 60, 1, "a" * 16, 3, "", 0)))
    both.now += 3_000_000
    assert left(both) == 40
    both.now += 2_000_000
    assert left(both) == 60, "nobody has written meanwhile"


def test_a_bucket_is_kept_until_what_is_leased_has_come_back(both):
    both.run(operations.lease(API, KEY, Lease(100, 100, 1, "a" * 16, 3, "", 0)))
    ends = both.memory.expiry(KEY)
    assert ends is not None
    assert ends >= both.now + 13_000_000, "used at the last moment, it comes back in 10 s more"
    assert both._raw.pttl(KEY) > 12_000


SLOW = policy("10 per hour")
FAST = policy("1000/second")


def used_up(both: BothSides) -> None:
    """Under a slow limit, with a reservation and a lease in it that were made under a fast one."""
    both.run(operations.reserve(FAST, KEY, 1, "a" * 16, 60))
    both.run(operations.lease(FAST, KEY, Lease(2, 2, 1, "b" * 16, 30, "", 0)))
    while both.run(operations.check(SLOW, KEY, 1)) >= 0:
        pass


FAST_LIMIT: dict[str, Any] = {
    "settle": operations.settle(
        FAST, Reservation("api", KEY, "a" * 16, 1, EPOCH + MINUTE), 1, late=300, channel=b"c"
    ),
    "settle-lost": operations.settle(
        FAST, Reservation("api", KEY, "c" * 16, 1, EPOCH + MINUTE), 1, late=300, channel=b"c"
    ),
    "return": operations.lease(FAST, KEY, Lease(0, 0, 1, "", 5, "b" * 16, 2)),
    "return-and-fetch": operations.lease(FAST, KEY, Lease(1, 9, 1, "d" * 16, 5, "b" * 16, 2)),
    "charge": operations.charge(FAST, KEY, 7),
    "check": operations.check(FAST, KEY, 1000),
    "look-at-lapsed": operations.peek(FAST, KEY),
    "reserve": operations.reserve(FAST, KEY, 1, "e" * 16, 60),
}


@pytest.mark.parametrize("passed", [2_000_000, 62_000_000, -HOUR], ids=["soon", "lapsed", "back"])
@pytest.mark.parametrize("asked", FAST_LIMIT)
def test_another_limit_with_a_shorter_burst_gives_no_more_back_than_it_took(both, asked, passed):
    used_up(both)
    both.now += passed
    for _ in range(2):
        both.run(FAST_LIMIT[asked])
        both.now += 2_000_000
    assert both.run(operations.check(SLOW, KEY, 1)) < 0


NAMES = [letter * 16 for letter in "abcd"]
RATES = ["3 per 2 seconds", "100 per 10 seconds", "700000/second", "1 per day", "9 per 10 seconds"]
SPOILED = [
    *(b"", b"x", b"-5", b"1:", b"1@", b"1:@5", b"9" * 40, b"1;", b";q1/1/1/0;"),
    b"%d@5;q0/0/0/0;" % EPOCH,
    b"%d@5;q1/%d/9/0;" % (EPOCH, 2**52),
    b"%d@5;s%d/1/2/0;" % (EPOCH, EPOCH),
    b"%d@5;s%d/%d/%d/0;no hold" % (EPOCH, EPOCH, EPOCH, EPOCH),
    b"%d@-99;q1/1/5/%d;s1:2/0/0/0;%b/3/%d/0;" % (EPOCH, 2**51, b"a" * 16, 2**51),
]
STEPS = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([1, 333_333, 1_000_000, -1_000_000, HOUR, -HOUR])),
    st.tuples(st.just("check"), st.integers(0, 12)),
    st.tuples(st.just("charge"), st.integers(1, 12)),
    st.tuples(st.just("reserve"), st.sampled_from(NAMES), st.integers(1, 12)),
    st.tuples(st.just("lease"), st.sampled_from(NAMES), st.integers(1, 3), st.integers(3, 12)),
    st.tuples(st.just("return"), st.sampled_from(NAMES), st.integers(0, 3)),
    st.tuples(st.just("settle"), st.sampled_from(NAMES), st.integers(0, 30)),
    st.tuples(st.just("hold"), st.sampled_from(NAMES), st.integers(1, 12)),
    st.tuples(st.just("own"), st.sampled_from([*RATES, None]), st.sampled_from([1.0, None])),
    st.tuples(st.just("reset")),
    st.tuples(st.just("under"), st.sampled_from(RATES)),
    st.tuples(st.just("spoil"), st.sampled_from(SPOILED)),
)


def settle_one(limit: LimitPolicy, name: str, used: int) -> Any:
    held = Reservation("api", KEY, name, 1, EPOCH + 2_000_000)
    return operations.settle(limit, held, used, late=2, channel=b"c")


def give_own(limit: LimitPolicy, own: str | None, ttl: float | None) -> Any:
    return operations.set_quota(limit, KEY, Rate(own, 7) if own else None, ttl, b"c")


ASKED: dict[str, Any] = {
    "check": lambda limit, cost: operations.check(limit, KEY, cost),
    "charge": lambda limit, cost: operations.charge(limit, KEY, cost),
    "reserve": lambda limit, name, cost: operations.reserve(limit, KEY, cost, name, 2),
    "lease": lambda limit, name, least, most: operations.lease(
        limit, KEY, Lease(least, most, 2, name, 1, "", 0)
    ),
    "return": lambda limit, name, used: operations.lease(
        limit, KEY, Lease(0, 0, 1, "", 1, name, used)
    ),
    "settle": settle_one,
    "hold": lambda limit, name, cost: operations.hold(
        limit, Reservation("api", KEY, name, cost, EPOCH + 2_000_000), 2
    ),
    "own": give_own,
    "reset": lambda _limit: operations.reset(KEY, b"c"),
}


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rate=st.sampled_from(RATES), burst=st.integers(5, 10), steps=st.lists(STEPS, max_size=25))
def test_scripts_and_models_agree_whatever_happens(both, rate, burst, steps):
    both.clear()
    limit = policy(rate, burst)
    for kind, *given_ in steps:
        if kind == "pass":
            both.now += given_[0]
        elif kind == "spoil":
            both.spoil(given_[0])
        elif kind == "under":
            limit = policy(given_[0], burst)
        else:
            both.run(ASKED[kind](limit, *given_))
