"""Limits in a Redis Cluster: reservations and limits of a subject's own outlive their node."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice

import pytest
from redis.crc import key_slot
from tests.integration.fleet import healthy, instances, until
from tests.integration.test_cluster import lead

from aragora_redis import Rate
from aragora_redis.rate_limit.gcra import Source
from aragora_redis.rate_limit.reservation import Found

LIMIT = 1000
PATIENT = {"ARAGORA_REDIS_DEADLINE": "0.5", "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}


@pytest.fixture
def env(policies):
    return PATIENT | policies(f'[limits.llm]\nrate = "{LIMIT} per 99 days"\n')


def slot_of(state, subject):
    return key_slot(state.rate_limits._book.named("llm").record(subject).key)


def subjects_where(state, holds, count):
    """Subjects whose slot is as wanted."""
    names = (f"org:{number}" for number in range(100_000))
    return list(islice((name for name in names if holds(slot_of(state, name))), count))


async def remaining(state, subject):
    return (await state.rate_limits.peek("llm", subject)).decision.remaining


async def back(state, subject, count):
    """Wait until so many are there."""
    for _ in range(200):
        if await remaining(state, subject) == count:
            return
        await asyncio.sleep(0.05)
    pytest.fail("they did not come back")


async def test_reservations_and_own_limits_move_with_their_slots(cluster_lab, env):
    lab, moving = cluster_lab, range(200)
    async with instances(lab, 2, **env) as (one, two):
        busy, idle, short, *own = subjects_where(one, moving.__contains__, 6)
        own += subjects_where(one, lambda slot: slot > 9000, 3)
        for subject in own:
            assert not await one.rate_limits.set_limit("llm", subject, Rate("7 per day"))
        kept = await one.rate_limits.reserve("llm", idle, 600, ttl=3600)
        await one.rate_limits.reserve("llm", short, LIMIT, ttl=2)
        used, found, over = 0, Counter[tuple[Found, bool, Source]](), asyncio.Event()

        async def work():
            nonlocal used
            while not over.is_set():
                reserved = await one.rate_limits.reserve("llm", busy, 20)
                settled = await two.rate_limits.settle(reserved.id, int(found.total() % 20 == 0))
                used += settled.cost
                found[settled.found, settled.confirmed, reserved.decision.source] += 1

        working = asyncio.create_task(work())
        await until(lambda: found.total() > 20)
        await asyncio.to_thread(lab.move_slots, moving, "redis-2")
        await until(lambda: lead(one, 0) == lead(two, 0) == lab.node("redis-2").address)
        before = found.total()
        await until(lambda: found.total() > before + 20)
        over.set()
        await working
        assert found.keys() == {(Found.HELD, True, Source.REDIS)}
        assert await remaining(two, busy) == LIMIT - used
        settled = await two.rate_limits.settle(kept.id, 100)
        assert (settled.found, settled.returned) == (Found.HELD, 500)
        assert await one.rate_limits.settle(kept.id, 600) == settled, "the first one counts"
        assert await remaining(one, idle) == LIMIT - 100

        await back(two, short, LIMIT)  # it lapses where it is now
        listed = await two.rate_limits.own_limits("llm")
        assert listed.after is None
        assert {each.digest for each in listed.shown} == {
            (await one.rate_limits.peek("llm", subject)).digest for subject in own
        }


@pytest.mark.paired
async def test_reservations_outlive_the_primary_that_held_them(cluster_lab, env, connect):
    lab = cluster_lab
    async with instances(lab, 2, **env) as (one, two):
        victim = lab.node("redis-0").address
        theirs = lambda slot: lead(one, slot) == victim  # noqa: E731
        early, late, lapsing = subjects_where(one, theirs, 3)
        [other] = subjects_where(one, lambda slot: not theirs(slot), 1)
        first = await one.rate_limits.reserve("llm", early, 600, ttl=3600)
        second = await one.rate_limits.reserve("llm", late, 600, ttl=3600)
        await one.rate_limits.reserve("llm", lapsing, LIMIT, ttl=3)
        for each in (early, late, lapsing):  # a limit of its own lies beside its reservations
            await one.rate_limits.set_limit("llm", each, Rate("2000 per 99 days"))
        assert connect(lab, "redis-0").wait(1, 2000) == 1
        await asyncio.to_thread(lab.kill, "redis-0")

        settled = await two.rate_limits.settle(first.id, 150)
        assert (settled.cost, settled.confirmed) == (150, False), "Redis hears of it later"
        async with one.rate_limits.reserve("llm", other, 10) as unhurt:
            assert (await unhurt.settle(1)).confirmed, "another shard has nothing of it"

        await until(lambda: victim not in (lead(one, 0), lead(two, 0)), within=30)
        await until(healthy(one, two), within=30)
        await until(lambda: not two.rate_limits._reservations.owing, within=30)
        settled = await two.rate_limits.settle(second.id, 200)
        assert (settled.found, settled.returned, settled.confirmed) == (Found.HELD, 400, True)
        again = await one.rate_limits.settle(first.id, 0)
        assert (again.cost, again.found, again.returned) == (150, Found.HELD, 450)
        assert await remaining(one, early) == 2000 - 150
        assert await remaining(one, late) == 2000 - 200
        await back(two, lapsing, 2000)
