"""A limit of its own is taken from a subject that is known by the list alone."""

from __future__ import annotations

import pytest

from aragora_redis import Rate
from aragora_redis.errors import InvalidInputError
from aragora_redis.testing import memory_state

POLICIES = """
[limits.org]
rate = "5 per minute"
[limits.user]
rate = "5 per minute"
co_locate = "org"
"""
OWN = Rate("9 per minute")


async def test_one_that_lies_beside_several_is_named_with_where():
    limits = memory_state(POLICIES).rate_limits
    for org in ("a", "b"):
        await limits.set_limit("user", "u", OWN, at=org, actor="ann")
    one, other = (await limits.own_limits("user")).shown
    assert (one.digest, one.at != other.at) == (other.digest, True)
    with pytest.raises(InvalidInputError, match="2 subjects are listed"):
        await limits.unset_listed("user", one.digest)
    assert await limits.unset_listed("user", one.digest, at=one.at)
    assert (await limits.own_limits("user")).shown == (other,)
    assert await limits.unset_listed("user", other.digest)
    assert not await limits.unset_listed("user", other.digest)
    for org in ("a", "b"):
        assert (await limits.peek("user", "u", at=org)).until is None


async def test_who_was_refused_under_it_is_asked_about_at_once():
    limits = memory_state(POLICIES).rate_limits
    await limits.set_limit("org", "a", Rate("1 per hour"), actor="ann")
    assert [(await limits.check("org", "a")).allowed for _ in range(2)] == [True, False]
    [own] = (await limits.own_limits("org")).shown
    assert await limits.unset_listed("org", own.digest)
    assert (await limits.check("org", "a")).allowed
