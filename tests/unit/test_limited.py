"""A limit around work, and work that waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from aragora_redis import Rate
from aragora_redis.errors import InvalidInputError, LimitExceededError, UnknownPolicyError
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings
from aragora_redis.state.rate_limits import waiting
from aragora_redis.state.rate_limits.rate_limits import RateLimits
from aragora_redis.state.rate_limits.waiting import Waiter
from aragora_redis.sync import SharedState
from aragora_redis.testing import memory_state

POLICIES = """
[limits.api]
rate = "20 per second"
burst = 1
[limits.slow]
rate = "2 per hour"
"""


@pytest.fixture
async def limits():
    async with memory_state(POLICIES) as made:
        yield made.rate_limits


async def test_a_decorated_function_is_limited_by_its_arguments(limits: RateLimits) -> None:
    @limits.limit("slow", key=lambda user, **_: f"user:{user}")
    async def work(user: int, *, loud: bool = False) -> str:
        return f"{user}{'!' * loud}"

    assert [await work(7), await work(7, loud=True), await work(8)] == ["7", "7!", "8"]
    with pytest.raises(LimitExceededError) as refused:
        await work(7)
    assert refused.value.retry_after == pytest.approx(1800, rel=0.01)
    assert work.__name__ == "work"


async def test_a_decorated_generator_is_limited_as_it_begins(limits: RateLimits) -> None:
    @limits.limit("slow", key=lambda user: user)
    async def stream(user: str) -> AsyncIterator[str]:
        yield user
        yield user

    assert [item async for item in stream("u")] == ["u", "u"]
    left = stream("u")
    assert await anext(left) == "u"
    with pytest.raises(LimitExceededError):
        await anext(stream("u"))
    with pytest.raises(InvalidInputError, match="put on a plain function"):
        limits.limit("slow", "s")(lambda: 0)  # type: ignore[type-var]  # mypy refuses it too


async def test_a_limit_as_a_context(limits):
    async with limits.limit("slow", "s", cost=2) as decision:
        assert decision.remaining == 0
    with pytest.raises(LimitExceededError):
        async with limits.limit("slow", "s"):
            pytest.fail("it was refused")
    with pytest.raises(InvalidInputError, match="whom"):
        async with limits.limit("slow"):
            pass
    with pytest.raises(UnknownPolicyError):
        limits.limit("none")
    with pytest.raises(InvalidInputError, match="key is a function"):
        async with limits.limit("slow", key="s"):
            pass


async def test_a_limit_of_a_subjects_own_is_a_rate(limits):
    for wrong in (
        lambda: limits.check("slow", "s", limit="9 per hour"),
        lambda: limits.set_limit("slow", "s", "9 per hour"),
    ):
        with pytest.raises(InvalidInputError, match="is a Rate"):
            await wrong()


async def test_who_waits_is_served_in_turn_and_nobody_waits_in_vain(limits, monkeypatch):
    order: list[int] = []

    async def one(number: int, wait: float) -> bool:
        decision = await limits.acquire("api", "s", wait=wait)
        if decision.allowed:
            order.append(number)
        return bool(decision.allowed)

    began = time.monotonic()
    assert all(await asyncio.gather(*(one(number, 5) for number in range(6))))
    assert order == [0, 1, 2, 3, 4, 5]
    assert time.monotonic() - began >= 0.24
    await limits.acquire("slow", "s", 2, wait=1)
    began = time.monotonic()
    assert not (await limits.acquire("slow", "s", wait=60)).allowed
    assert time.monotonic() - began < 1, "it could not be served in time"
    monkeypatch.setattr(waiting, "MOST_WAITING", 1)
    await one(9, 5)
    assert sorted(await asyncio.gather(*(one(number, 5) for number in range(4)))) == [
        *(False, False, False),
        True,
    ]
    for wait in (-1, "1", float("inf")):
        with pytest.raises(InvalidInputError):
            await limits.acquire("api", "s", wait=wait)


async def test_who_is_cancelled_while_waiting_lets_the_next_one_in(limits):
    await limits.check("api", "s")
    first = asyncio.create_task(limits.acquire("api", "s", wait=5))
    second = asyncio.create_task(limits.acquire("api", "s", wait=5))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).allowed
    assert not limits._waiting._lines


async def test_who_comes_behind_others_that_wait_is_refused_at_once_if_that_is_in_vain(limits):
    await limits.check("api", "s")
    early = [asyncio.create_task(limits.acquire("api", "s", wait=5)) for _ in range(4)]
    await asyncio.sleep(0)
    began = time.monotonic()
    assert not (await limits.acquire("api", "s", wait=0.2)).allowed
    assert time.monotonic() - began < 0.15, "four are promised to others, a fifth is too late"
    served = await asyncio.gather(*early)
    assert all(decision.allowed for decision in served)


async def test_who_gives_up_is_told_what_was_said_and_the_next_one_is_served(limits):
    await limits.check("slow", "s", 2)
    first, second = Waiter(), Waiter()
    waits = [
        asyncio.create_task(limits.acquire("slow", "s", wait=3600, waiter=each))
        for each in (first, second)
    ]
    await asyncio.sleep(0)
    first.give_up()
    refused = await waits[0]
    assert not refused.allowed
    assert refused.retry_after == pytest.approx(1800, rel=0.01)
    await limits.reset("slow", "s")
    async with asyncio.timeout(5):
        assert (await waits[1]).allowed, "what comes back before its time wakes who waits"
    assert not limits._waiting._lines


async def test_what_is_settled_and_a_limit_that_is_raised_wake_who_waits(limits):
    reserved = await limits.reserve("slow", "s", 2)
    first = asyncio.create_task(limits.acquire("slow", "s", wait=7200))
    second = asyncio.create_task(limits.acquire("slow", "s", wait=7200))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await reserved.settle(1)
        assert (await first).allowed
        await limits.set_limit("slow", "s", Rate("9 per hour"))
        assert (await second).allowed


def test_threads_have_the_same():
    with SharedState(Settings(), policies=parse_policies(POLICIES, source="test")) as state:

        @state.rate_limits.limit("slow", key=lambda user: f"user:{user}")
        def work(user: int) -> int:
            return user

        assert [work(7), work(7), work(8)] == [7, 7, 8]
        with pytest.raises(LimitExceededError):
            work(7)
        for _ in range(3):
            with state.rate_limits.limit("api", "s", wait=5) as decision:
                assert decision.allowed
