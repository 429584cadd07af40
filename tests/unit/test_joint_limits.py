"""Several limits asked as one: all of them give, or none does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aragora_redis import LimitCheck, Rate
from aragora_redis.errors import InvalidInputError, LimitUnavailableError, UnknownPolicyError
from aragora_redis.events import Decided, Event
from aragora_redis.rate_limit.gcra import Source
from aragora_redis.rate_limit.joint import MOST_LIMITS
from aragora_redis.testing import FakeClock, memory_state, outage

POLICIES = """
[limits.ip]
rate = "10/second"
on_outage = "fail-open"
[limits.user]
rate = "3 per minute"
on_outage = "fail-open"
co_locate = "org"
[limits.org]
rate = "5 per hour"
on_outage = "fail-open"
[limits.strict]
rate = "2 per minute"
on_outage = "fail-closed"
"""
IP, USER, ORG = LimitCheck("ip", "i"), LimitCheck("user", "u"), LimitCheck("org", "o")
WAY_UP = (IP, USER, ORG)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def state(clock):
    async with memory_state(POLICIES, clock=clock) as made:
        yield made


def left(joint):
    return [None if said is None else said.remaining for said in joint.decisions]


async def test_all_give_until_one_refuses_and_then_none_does(state, clock):
    for used in (1, 2, 3):
        joint = await state.rate_limits.check_all(*WAY_UP)
        assert joint.allowed
        assert joint.retry_after == 0
        assert left(joint) == [10 - used, 3 - used, 5 - used]
    joint = await state.rate_limits.check_all(*WAY_UP)
    assert not joint.allowed
    assert [said.allowed for said in joint.decisions] == [True, False, True]
    assert left(joint) == [7, 0, 2]
    assert joint.retry_after == pytest.approx(20)
    clock.advance(20)
    assert left(await state.rate_limits.check_all(*WAY_UP)) == [9, 0, 1]


async def test_a_call_may_bring_the_limit_of_one_of_them(state):
    paying = LimitCheck("user", "u", at="o", limit=Rate("40 per minute", burst=4))
    for used in (1, 2, 3, 4):
        joint = await state.rate_limits.check_all(IP, paying)
        assert left(joint) == [10 - used, 4 - used]
    refused = (await state.rate_limits.check_all(IP, paying)).decisions[1]
    assert refused is not None
    assert (refused.allowed, refused.limit) == (False, 4)
    assert refused.retry_after == pytest.approx(1.5)
    again = (await state.rate_limits.check_all(IP, paying)).decisions[1]
    assert again is not None
    assert again.source is Source.DENY_CACHE
    async with outage(state):
        said = await state.rate_limits.check_all(IP, paying._replace(subject="v"))
        assert [each.limit for each in said.decisions if each] == [10, 4]
    text: Any = "9/second"
    for wrong in (paying._replace(cost=5), LimitCheck("ip", "i", limit=text)):
        with pytest.raises(InvalidInputError):
            await state.rate_limits.check_all(IP, wrong)


async def test_who_was_refused_a_moment_ago_is_refused_without_being_asked(state):
    events: list[Event] = []
    for _ in range(4):
        await state.rate_limits.check_all(*WAY_UP)
    state.events.subscribe(events.append)
    joint = await state.rate_limits.check_all(*WAY_UP)
    assert left(joint) == [None, 0, None]
    assert joint.decisions[1].source is Source.DENY_CACHE
    (decided,) = (event for event in events if isinstance(event, Decided))
    assert (decided.policy, decided.allowed, decided.source) == ("user", False, "deny-cache")
    assert (await state.rate_limits.check_all(IP, ORG)).allowed
    assert (await state.rate_limits.check_all(*WAY_UP[1:])).retry_after > 0


async def test_costs_are_each_their_own_and_a_look_takes_nothing(state):
    await state.rate_limits.check_all(IP._replace(cost=4), ORG._replace(cost=5))
    for _ in range(2):
        joint = await state.rate_limits.check_all(IP._replace(cost=0), ORG._replace(cost=0))
        assert left(joint) == [6, 0]
        assert [said.allowed for said in joint.decisions] == [True, False]
        assert not joint.allowed


async def test_a_co_located_limit_counts_within_the_other(state):
    there, elsewhere = LimitCheck("org", "o"), LimitCheck("org", "o2")
    for _ in range(3):
        assert (await state.rate_limits.check_all(USER, there)).allowed
    assert not (await state.rate_limits.check_all(USER, there)).allowed
    assert (await state.rate_limits.check_all(USER, elsewhere)).allowed
    assert not (await state.rate_limits.check("user", "u", at="o")).allowed
    assert state.rate_limits.at_hand("user", "u", at="o") is not None
    assert state.rate_limits.at_hand("user", "u", at="o2") is None
    assert await state.rate_limits.reset("user", "u", at="o")
    assert (await state.rate_limits.check_all(USER._replace(at="o"))).allowed


async def test_without_redis_the_shares_give_all_or_none(state):
    with_room = await state.rate_limits.check_all(*WAY_UP)
    assert with_room.allowed
    async with outage(state):
        for _ in range(2):
            joint = await state.rate_limits.check_all(*WAY_UP)
            assert joint.allowed
            assert {said.source for said in joint.decisions} == {Source.LOCAL}
        joint = await state.rate_limits.check_all(*WAY_UP)
        assert [said.allowed for said in joint.decisions] == [True, False, True]
        assert left(joint) == [7, 0, 2]
    assert left(await state.rate_limits.check_all(IP._replace(cost=0), ORG._replace(cost=0))) == [
        7,
        2,
    ]


async def test_one_that_is_fail_closed_makes_all_so(state):
    events: list[Event] = []
    state.events.subscribe(events.append)
    async with outage(state):
        with pytest.raises(LimitUnavailableError, match="strict"):
            await state.rate_limits.check_all(IP, LimitCheck("strict", "s"))
        assert {event.source for event in events if isinstance(event, Decided)} == {"unavailable"}
    assert left(await state.rate_limits.check_all(IP)) == [9]


async def test_limits_of_several_slots_are_asked_in_turn_who_gives_back_soonest_first(state):
    asking = state.rate_limits._asking
    asking._decider = replace(asking._decider, across_slots=lambda: False)
    for _ in range(5):
        assert (await state.rate_limits.check("org", "o")).allowed
    joint = await state.rate_limits.check_all(ORG, IP)
    assert not joint.allowed
    assert left(joint) == [0, 9], "what the first gave stays given"
    joint = await state.rate_limits.check_all(USER, LimitCheck("org", "o2"))
    assert left(joint) == [2, 4], "they share a slot"
    for _ in range(2):
        await state.rate_limits.check_all(USER, LimitCheck("org", "o2"))
    joint = await state.rate_limits.check_all(USER, LimitCheck("org", "o2"))
    assert left(joint) == [0, 2], "so that none takes what the other refuses"


@pytest.mark.parametrize(
    ("checks", "told"),
    [
        ((), "1 to"),
        ((LimitCheck("ip", "i"),) * 2, "twice"),
        (tuple(LimitCheck("ip", f"{n}") for n in range(MOST_LIMITS + 1)), "1 to"),
        ((USER,), "within 'org'"),
        ((USER, ORG, ORG._replace(subject="o2")), "several subjects"),
        ((IP._replace(at="o"),), "not co-located"),
        ((IP._replace(cost=11),), "cannot cost"),
        ((IP, ORG._replace(cost=0)), "looked at"),
        ((IP._replace(subject=""),), "1 to 1024"),
        ((USER._replace(at=""),), "1 to 1024"),
    ],
)
async def test_what_cannot_be_asked_is_refused_and_nothing_counted(state, checks, told):
    with pytest.raises(InvalidInputError, match=told):
        await state.rate_limits.check_all(*checks)
    assert left(await state.rate_limits.check_all(IP._replace(cost=0))) == [10]


async def test_a_limit_that_is_not_there(state):
    with pytest.raises(UnknownPolicyError):
        await state.rate_limits.check_all(IP, LimitCheck("nobody's", "u"))
