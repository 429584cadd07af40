"""A state that is closed, and started again, on a real Redis."""

from __future__ import annotations

import asyncio
import logging
import time

from aragora_redis import Level, SharedState


def test_each_run_follows_what_was_revoked_meanwhile(standalone_lab, caplog):
    caplog.set_level(logging.ERROR)
    state, other = (SharedState.from_env(standalone_lab.env()) for _ in range(2))
    limit, expires_at = state.rate_limits.limit("api", "ip:restarted"), time.time() + 60

    async def use(turn):
        async with state:
            assert state.ready
            for before in range(turn):
                assert state.tokens.is_revoked({"jti": f"restart-{before}"})
            assert not state.tokens.is_revoked({"jti": f"restart-{turn}"})
            async with limit as decision, state.circuits["llm"]:
                assert decision.source.value == "redis"
        return state.boot_id

    async def revoke(turn):
        async with other:
            await other.tokens.revoke(f"restart-{turn}", expires_at=expires_at)

    runs = set()
    for turn in range(3):
        runs.add(asyncio.run(use(turn)))
        asyncio.run(revoke(turn))
    assert len(runs) == 3
    assert not caplog.records, caplog.text


async def test_what_is_owed_when_a_state_is_closed_is_published_by_that(standalone_lab):
    env, expires_at = standalone_lab.env(), time.time() + 60
    claims = [{"jti": f"owed-{number}"} for number in range(300)]
    async with SharedState.from_env(env) as state:
        for each in claims:
            await state.tokens.revoke(each["jti"], expires_at=expires_at, level=Level.LOCAL)
    async with SharedState.from_env(env) as state:
        assert state.ready
        assert all(state.tokens.is_revoked(each) for each in claims)
