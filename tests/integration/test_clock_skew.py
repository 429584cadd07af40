"""A clock that differs from Redis's: said, full comparisons wait, and revocations go on."""

from __future__ import annotations

import time

from tests.integration.fleet import until
from tests.integration.moved import Moved
from tests.integration.past import give_past

from aragora_redis import SharedState
from aragora_redis.events import ClockSkew
from aragora_redis.settings import from_env


async def test_a_clock_that_is_moved_suspends_full_syncs_and_forgets_nothing(make_lab):
    lab = make_lab("standalone")
    lab.start()
    give_past(lab)
    clock, said = Moved(), list[ClockSkew]()
    async with (
        SharedState(from_env(lab.env()), clock=clock) as state,
        SharedState.from_env(lab.env()) as other,
    ):
        assert state._redis is not None
        feed = state._redis.feed
        state.events.subscribe(lambda e: said.append(e) if isinstance(e, ClockSkew) else None)
        await state.tokens.revoke("before", expires_at=time.time() + 60)
        clock.by = 4 * 86_400.0
        feed._compared_at = 0.0
        await until(lambda: said)
        assert abs(said[0].seconds + clock.by) < 5
        await until(lambda: "clock" in state.status().troubles.get("feed", ""))
        assert state.tokens.is_revoked({"jti": "before"}), "a day that is over by our clock alone"
        await other.tokens.revoke("meanwhile", expires_at=time.time() + 60)
        await until(lambda: state.tokens.is_revoked({"jti": "meanwhile"}))
        await state.tokens.revoke("late", expires_at=time.time() + 60)
        assert state.tokens.is_revoked({"jti": "late"})
        await until(lambda: other.tokens.is_revoked({"jti": "late"}))
        clock.by = 0.0
        feed._compared_at = 0.0
        await until(lambda: "feed" not in state.status().troubles)
        assert len(said) == 1, "said once"
