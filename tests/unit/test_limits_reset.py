"""A limit that is reset while Redis cannot be asked, or does not say whether it was."""

from __future__ import annotations

import pytest

from aragora_redis.errors import LinkDownError, OutcomeUnknownError
from aragora_redis.testing import FakeClock, memory_state, outage

POLICIES = """
[limits.few]
rate = "5 per hour"
on_outage = "fail-open"
"""


async def test_a_reset_that_did_not_run_gives_nothing_and_lets_nobody_off():
    async with memory_state(POLICIES, clock=FakeClock()) as state:
        async with outage(state):
            for _ in range(5):
                assert (await state.rate_limits.check("few", "ann")).allowed
            for _ in range(2):
                with pytest.raises(LinkDownError):
                    await state.rate_limits.reset("few", "ann")
                assert not (await state.rate_limits.check("few", "ann")).allowed
        await state.rate_limits.settle_debts()
        assert (await state.rate_limits.check("few", "ann", 0)).remaining == 0
        assert await state.rate_limits.reset("few", "ann")
        assert (await state.rate_limits.check("few", "ann")).remaining == 4


async def test_after_a_reset_that_may_have_run_redis_is_asked_again():
    async with memory_state(POLICIES, clock=FakeClock()) as state:
        for allowed in (True, False):
            assert (await state.rate_limits.check("few", "ann", 5)).allowed is allowed
        assert state.rate_limits.at_hand("few", "ann", 5), "it would be refused without being asked"
        async with outage(state, OutcomeUnknownError("the answer was lost")):
            with pytest.raises(OutcomeUnknownError):
                await state.rate_limits.reset("few", "ann")
        assert state.rate_limits.at_hand("few", "ann", 5) is None
