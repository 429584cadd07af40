"""Several limits as one decision on real servers: one primary, and a cluster of them."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.fleet import instances

from aragora_redis import LimitCheck
from aragora_redis.errors import InvalidInputError
from aragora_redis.rate_limit.gcra import Source

POLICIES = """
[limits.ip]
rate = "500/hour"
[limits.user]
rate = "300/hour"
co_locate = "org"
[limits.org]
rate = "20/hour"
"""
CALLERS = 40
PATIENT = {"ARAGORA_REDIS_DEADLINE": "1"}
"""So long that no noise of the machine is taken for trouble of Redis."""


@pytest.fixture
def env(policies):
    return PATIENT | policies(POLICIES)


async def rush(states, *checks):
    """All instances ask at once, many times; what they were told."""
    asked = [state.rate_limits.check_all(*checks) for state in states for _ in range(CALLERS)]
    joints = await asyncio.gather(*asked)
    said = [decision for joint in joints for decision in joint.decisions if decision is not None]
    assert {decision.source for decision in said} <= {Source.REDIS, Source.DENY_CACHE}
    return joints


async def taken(state, *checks):
    """How much of each limit is gone."""
    looked = await state.rate_limits.check_all(*(check._replace(cost=0) for check in checks))
    return [said.limit - said.remaining for said in looked.decisions]


@pytest.mark.alone
async def test_what_one_limit_refuses_is_taken_from_none(standalone_lab, env):
    way_up = LimitCheck("ip", "i"), LimitCheck("user", "u"), LimitCheck("org", "o")
    async with instances(standalone_lab, 2, **env) as (one, two):
        joints = await rush((one, two), *way_up)
        assert sum(joint.allowed for joint in joints) == 20
        assert await taken(one, *way_up) == [20, 20, 20]


async def test_in_a_cluster_so_do_limits_that_are_co_located(cluster_lab, env):
    within = LimitCheck("user", "u"), LimitCheck("org", "o")
    async with instances(cluster_lab, 2, **env) as (one, two):
        joints = await rush((one, two), *within)
        assert sum(joint.allowed for joint in joints) == 20
        assert await taken(one, *within) == [20, 20]
        alone = LimitCheck("ip", "i")
        joints = await rush((one, two), alone, *within)
        assert not any(joint.allowed for joint in joints)
        assert await taken(one, *within) == [20, 20], "across slots the rest is not even asked"
        await one.rate_limits.reset("org", "o")
        joints = await rush((one, two), alone, *within)
        assert sum(joint.allowed for joint in joints) == 20
        [ip, *others] = await taken(one, alone, *within)
        assert others == [40, 20]
        assert 20 <= ip <= 20 + 2 * CALLERS, "in turn: what the first gave stays given"
        with pytest.raises(InvalidInputError, match="hash slots"):
            await one.rate_limits.acquire_all(alone, *within, wait=1)
        assert not (await two.rate_limits.acquire_all(*within, wait=1)).allowed
