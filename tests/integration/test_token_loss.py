"""I1 where something else than a failover takes revocations from Redis: an eviction, or a hand."""

from __future__ import annotations

import asyncio
import time

from tests.integration.fleet import instances, until

from aragora_redis.events import MembersChanged
from aragora_redis.tokens.entry import SHARDS
from aragora_redis.tokens.operations import ShardKeys

TOKENS = [f"token-{number}" for number in range(200)]
"""So many that each shard has several."""


async def test_i1_what_redis_lost_by_itself_is_given_back_and_no_starter_is_ready_without_it(
    make_lab, connect
):
    lab = make_lab("standalone")
    lab.start()
    expiry = time.time() + 600
    day = int(expiry // 86_400)
    redis = connect(lab, "redis-0")
    keys = [ShardKeys("aragora", index) for index in range(SHARDS)]

    def held():
        return sum(redis.zcard(each.members(day)) for each in keys)

    def lose():
        """A member here, a set there, and of some shards what says that there was any."""
        for index, each in enumerate(keys):
            if index % 3 == 0:
                redis.zremrangebyrank(each.members(day), 0, 0)
            else:
                redis.delete(each.members(day) if index % 3 == 1 else each.digests)

    async with instances(lab, 2) as (one, other):
        await asyncio.gather(*(one.tokens.revoke(token, expires_at=expiry) for token in TOKENS))
        await until(lambda: all(other.tokens.is_revoked({"jti": token}) for token in TOKENS))

        found: list[MembersChanged] = []
        one.events.subscribe(lambda e: found.append(e) if isinstance(e, MembersChanged) else None)
        lose()
        one._redis.feed._compared_at = 0.0
        await until(lambda: held() == len(TOKENS) and len({e.shard for e in found}) == SHARDS)
        await until(lambda: "feed" not in one.status().troubles)

        lose()
        async with instances(lab, 1) as (starter,):
            assert all(starter.tokens.is_revoked({"jti": token}) for token in TOKENS)
            assert held() == len(TOKENS)
        assert one.status().health == other.status().health == "healthy"
