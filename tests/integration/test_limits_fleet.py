"""What instances do with one limit together: leases, reservations, limits set for a subject."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.fleet import instances, until

from aragora_redis import Rate
from aragora_redis.errors import InvalidInputError
from aragora_redis.events import Event, PoliciesDiffer
from aragora_redis.rate_limit.gcra import Decision, Source
from aragora_redis.rate_limit.reservation import Found

POLICIES = """
[limits.hot]
rate = "400 per hour"
lease = 50
[limits.llm]
rate = "1000 per hour"
"""
PATIENT = {"ARAGORA_REDIS_DEADLINE": "2"}


@pytest.fixture
def env(policies):
    return PATIENT | policies(POLICIES)


async def test_instances_that_lease_never_admit_more_than_the_limit_and_share_it(
    standalone_lab, env
):
    async with instances(standalone_lab, 4, **env) as states:
        admitted = [0] * 4

        async def ask(index):
            for _ in range(150):
                decision = await states[index].rate_limits.check("hot", "everybody")
                if decision.allowed:
                    admitted[index] += 1
                assert decision.source is not Source.LOCAL

        await asyncio.gather(*(ask(index) for index in range(4) for _ in range(4)))
        left = [await state.rate_limits.check("hot", "everybody", 0) for state in states]
        assert 380 <= sum(admitted) <= 400
        assert min(admitted) >= 10, "nobody goes without"
        for state in states:
            await state.rate_limits.finish()
        left = [await state.rate_limits.check("hot", "everybody", 0) for state in states]
        assert {each.remaining for each in left} == {400 - sum(admitted)}


async def test_who_waits_for_a_lease_is_not_told_that_the_cost_of_another_cannot_be_paid(
    standalone_lab, env
):
    async with instances(standalone_lab, 2, **env) as (one, two):
        await one.rate_limits.set_limit("hot", "few", Rate("5 per hour"))
        dear, *cheap = await asyncio.gather(
            *(two.rate_limits.check("hot", "few", cost) for cost in (20, 1, 2)),
            return_exceptions=True,
        )
        assert isinstance(dear, InvalidInputError)
        assert all(isinstance(each, Decision) and each.allowed for each in cheap), cheap
        await two.rate_limits.check("hot", "few", 2)
        assert not (await two.rate_limits.check("hot", "few", 5)).allowed
        with pytest.raises(InvalidInputError, match="its burst, 5"):
            await two.rate_limits.check("hot", "few", 20)


async def test_a_reservation_goes_from_one_instance_to_another_and_ends_refusals(
    standalone_lab, env
):
    async with instances(standalone_lab, 2, **env) as (one, two):
        reserved = await one.rate_limits.reserve("llm", "org:1", 1000)
        assert reserved.allowed
        await two.rate_limits.check("llm", "org:1")
        assert (await two.rate_limits.check("llm", "org:1")).source is Source.DENY_CACHE
        settled = await one.rate_limits.settle(reserved.id, 600)
        assert (settled.returned, settled.found) == (400, Found.HELD)
        assert await two.rate_limits.settle(reserved.id, 0) == settled, "the first one counts"
        assert (await two.rate_limits.peek("llm", "org:1")).decision.remaining == 400
        await until(lambda: two.rate_limits.at_hand("llm", "org:1") is None, within=4)
        assert (await two.rate_limits.check("llm", "org:1", 400)).allowed


async def test_what_a_holder_that_died_had_reserved_comes_back(standalone_lab, env):
    async with instances(standalone_lab, 1, **env) as (one,):
        await one.rate_limits.reserve("llm", "org:2", 1000, ttl=0.5)
        assert not (await one.rate_limits.check("llm", "org:2")).allowed

        for _ in range(200):
            looked = await one.rate_limits.peek("llm", "org:2")
            if looked.decision.remaining == 1000:
                return
            await asyncio.sleep(0.05)
        pytest.fail("it did not come back")


async def test_a_limit_that_is_set_holds_for_all_at_once(standalone_lab, env):
    async with instances(standalone_lab, 2, **env) as (one, two):
        await one.rate_limits.check("llm", "org:3", 1000)
        await two.rate_limits.check("llm", "org:3")
        assert two.rate_limits.at_hand("llm", "org:3") is not None
        await one.rate_limits.set_limit("llm", "org:3", Rate("5000 per hour"), ttl=60)
        await until(lambda: two.rate_limits.at_hand("llm", "org:3") is None, within=4)
        decision = await two.rate_limits.check("llm", "org:3", 3000)
        assert (decision.limit, decision.remaining) == (5000, 1000)
        await one.rate_limits.reset("llm", "org:3")
        assert (await two.rate_limits.peek("llm", "org:3")).decision.remaining == 5000


async def test_instances_with_other_policies_are_told_of_once(standalone_lab, env, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text('[limits.llm]\nrate = "1/second"\n')
    async with (
        instances(standalone_lab, 1, **env) as (one,),
        instances(standalone_lab, 1, **env | {"ARAGORA_POLICIES": str(other)}) as (two,),
    ):
        heard: list[Event] = []
        one.events.subscribe(heard.append)
        await until(lambda: one.status().differing == 1)
        assert one.status().policies != two.status().policies
        await until(lambda: PoliciesDiffer(1) in heard)
        other.write_text(POLICIES)
        await until(lambda: PoliciesDiffer(0) in heard)
        assert heard.count(PoliciesDiffer(1)) == 1
