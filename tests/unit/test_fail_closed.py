"""A limit that is fail-closed: what its refusal in an outage says of the tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aragora_redis import LimitCheck
from aragora_redis.errors import LimitUnavailableError, OutcomeUnknownError, Ran
from aragora_redis.testing import memory_state, outage

POLICIES = """
[limits.strict]
rate = "10 per hour"
[limits.quick]
rate = "10 per minute"
[limits.leased]
rate = "100 per hour"
lease = 10
"""


@pytest.fixture
async def state():
    async with memory_state(POLICIES) as made:
        yield made


@pytest.fixture
def unanswered(state):
    """What is asked runs, and nobody hears of it."""
    run = state.embedded.run

    async def run_unheard(operation, *, within):
        await run(operation, within=within)
        raise OutcomeUnknownError("no answer came in time")

    state.embedded.run = run_unheard
    return run


async def test_what_was_not_asked_has_taken_nothing(state):
    async with outage(state):
        with pytest.raises(LimitUnavailableError) as refused:
            await state.rate_limits.check("strict", "s")
    assert refused.value.ran is Ran.NO
    assert (await state.rate_limits.check("strict", "s")).remaining == 9


@pytest.mark.parametrize("policy", ["strict", "leased"])
async def test_what_was_asked_in_vain_may_have_taken_its_tokens(state, unanswered, policy):
    with pytest.raises(LimitUnavailableError) as refused:
        await state.rate_limits.check(policy, "s")
    assert refused.value.ran is Ran.UNKNOWN
    state.embedded.run = unanswered
    if policy == "strict":
        assert (await state.rate_limits.check("strict", "s")).remaining == 8


@pytest.mark.usefixtures("unanswered")
async def test_so_it_is_with_a_reservation(state):
    with pytest.raises(LimitUnavailableError) as refused:
        await state.rate_limits.reserve("strict", "s", 3)
    assert refused.value.ran is Ran.UNKNOWN


async def test_of_limits_that_are_asked_in_turn_the_first_may_have_given(state):
    asking, run = state.rate_limits._asking, state.embedded.run
    asking._decider = replace(asking._decider, across_slots=lambda: False)

    async def run_the_first(operation, *, within):
        state.embedded.run = run_none
        return await run(operation, within=within)

    async def run_none(operation, *, within):
        async with outage(state):
            return await run(operation, within=within)

    state.embedded.run = run_the_first
    with pytest.raises(LimitUnavailableError) as refused:
        await state.rate_limits.check_all(LimitCheck("quick", "a"), LimitCheck("strict", "b"))
    assert refused.value.ran is Ran.UNKNOWN
    state.embedded.run = run
    assert (await state.rate_limits.check("quick", "a")).remaining == 8
