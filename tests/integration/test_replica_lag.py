"""How far the replicas are behind is seen while it happens."""

from __future__ import annotations

import asyncio

from tests.integration.fleet import instances, until


async def test_a_replica_that_stands_still_is_seen_falling_behind(sentinel_lab, connect):
    lab = sentinel_lab
    async with instances(lab, 1) as (state,):
        lag = await until(lambda: state.status().lag)
        assert lag.seconds <= 2
        await asyncio.to_thread(lab.freeze, "replica-0")
        connect(lab).set("filler", "x" * 100_000)

        def behind():
            now = state.status().lag
            return now is not None and now.size >= 100_000 and now.seconds >= 2

        await until(behind)
        (of_all,) = state.status().each_redis
        assert of_all.lag == state.status().lag
        await asyncio.to_thread(lab.thaw, "replica-0")
        await until(lambda: (now := state.status().lag) is not None and now.size < 100_000)
