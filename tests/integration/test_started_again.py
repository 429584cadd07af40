"""A state that is started again on a real Redis, each time in an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
import time

from aragora_redis import SharedState


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
