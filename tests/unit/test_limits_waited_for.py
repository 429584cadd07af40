"""Work that waits for several limits as one, and how many may wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from aragora_redis import LimitCheck
from aragora_redis.errors import InvalidInputError
from aragora_redis.state.rate_limits.rate_limits import RateLimits
from aragora_redis.state.rate_limits.waiting import MOST_WAITING, Waiter
from aragora_redis.sync import SharedState
from aragora_redis.testing import memory_state

POLICIES = """
[limits.quick]
rate = "20 per second"
burst = 1
[limits.steady]
rate = "4 per second"
burst = 1
[limits.slow]
rate = "2 per hour"
[limits.shadow]
rate = "2 per hour"
shadow = true
"""
QUICK, STEADY, SLOW = (LimitCheck(policy, "s") for policy in ("quick", "steady", "slow"))


@pytest.fixture
async def state():
    async with memory_state(POLICIES) as made:
        yield made


@pytest.fixture
def limits(state):
    return state.rate_limits


async def until(is_so):
    while not is_so():  # noqa: ASYNC110 - nobody tells of lines
        await asyncio.sleep(0.01)


async def test_it_waits_for_the_longest_and_takes_from_all_or_none(limits):
    both = (QUICK, STEADY)
    assert (await limits.acquire_all(*both, wait=0)).allowed
    began = time.monotonic()
    joint = await limits.acquire_all(*both, LimitCheck("shadow", "s"), wait=5)
    assert joint.allowed
    assert time.monotonic() - began >= 0.24, "the steady one gives four a second"
    looked = [await limits.peek(policy, "s") for policy in ("quick", "steady", "shadow")]
    assert [each.decision.remaining for each in looked] == [0, 0, 1]


async def test_it_gives_up_in_time_and_has_taken_nothing(limits):
    await limits.check("slow", "s", 2)
    began = time.monotonic()
    refused = await limits.acquire_all(QUICK, SLOW, wait=30)
    assert (refused.allowed, time.monotonic() - began < 5) == (False, True)
    assert refused.retry_after == pytest.approx(1800, rel=0.01)
    waiter = Waiter()
    waits = asyncio.create_task(limits.acquire_all(QUICK, SLOW, wait=3600, waiter=waiter))
    await asyncio.sleep(0)
    waiter.give_up()
    assert not (await waits).allowed
    assert (await limits.check("quick", "s")).allowed
    assert not limits._waiting._lines


async def test_it_holds_nobody_up_where_it_does_not_wait(limits):
    await limits.check("slow", "s", 2)
    joint = asyncio.create_task(limits.acquire_all(QUICK, SLOW, wait=3600))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert all([(await limits.acquire("quick", "s", wait=5)).allowed for _ in range(3)])
        await limits.reset("slow", "s")
        assert (await joint).allowed, "the quick one refuses for longer by now, then it gives"


async def test_it_goes_over_to_the_line_of_another_that_refuses_for_longer(limits):
    await limits.check("steady", "s")
    joint = asyncio.create_task(limits.acquire_all(STEADY, SLOW, wait=3600))
    await asyncio.sleep(0)
    await limits.check("slow", "s", 2)
    async with asyncio.timeout(5):
        assert all([(await limits.acquire("steady", "s", wait=5)).allowed for _ in range(2)])
        await until(lambda: any(b"slow" in key for key in limits._waiting._lines))
        await limits.reset("slow", "s")
        assert (await joint).allowed
    assert not limits._waiting._lines


async def test_a_thousand_wait_and_no_more_whatever_they_wait_for(limits):
    subjects = [f"s{number}" for number in range(MOST_WAITING)]
    for subject in (*subjects, "late"):
        await limits.check("slow", subject, 2)

    def wait_for(subject):
        if subject in subjects[::2]:
            return limits.acquire("slow", subject, wait=3600)
        return limits.acquire_all(LimitCheck("slow", subject), QUICK, wait=3600)

    waits = [asyncio.create_task(wait_for(subject)) for subject in subjects]
    async with asyncio.timeout(30):
        await until(lambda: len(limits._waiting._lines) == MOST_WAITING)
        for late in (
            limits.acquire("slow", "late", wait=3600),
            limits.acquire_all(LimitCheck("slow", "late"), wait=3600),
        ):
            assert not (await late).allowed, "refused at once, as though nobody waited"
        await limits.reset("slow", subjects[0])
        assert (await waits[0]).allowed
        late = asyncio.create_task(limits.acquire("slow", "late", wait=3600))
        await until(lambda: len(limits._waiting._lines) == MOST_WAITING)
        for each in (*waits, late):
            each.cancel()
        await asyncio.gather(*waits, late, return_exceptions=True)
    assert (limits._waiting._count, limits._waiting._lines) == (0, {})


async def test_limits_in_several_slots_of_a_cluster_are_not_waited_for(state, limits):
    decider = replace(limits._decider, across_slots=lambda: False)
    policies = {policy.name: policy for policy in limits}
    of_cluster = RateLimits(policies, decider=decider, events=state.events)
    one, other = LimitCheck("quick", "a"), LimitCheck("quick", "b")
    with pytest.raises(InvalidInputError, match="hash slots"):
        await of_cluster.acquire_all(one, other, wait=1)
    assert (await of_cluster.acquire_all(one, other, wait=0)).allowed


async def test_how_long_is_a_span(limits):
    for wait in (-1, "1", float("inf")):
        with pytest.raises(InvalidInputError):
            await limits.acquire_all(QUICK, wait=wait)


def test_threads_wait_too():
    state = SharedState(memory_state().settings, policies=memory_state(POLICIES).policies)
    with state:
        assert all(state.rate_limits.acquire_all(QUICK, STEADY, wait=5).allowed for _ in range(2))
