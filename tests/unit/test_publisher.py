"""Which level is waited for, with a stand-in for Redis."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LevelUnavailableError
from aragora_redis.events import Events
from aragora_redis.state.publisher import Publisher
from aragora_redis.state.receipt import Level
from aragora_redis.tokens.entry import SHARDS, Entry
from aragora_redis.tokens.operations import ShardKeys
from aragora_redis.tokens.shard import Shard

ENTRY = Entry(40_000, bytes(16), 7)


def publisher(executor, level):
    redis: Any = SimpleNamespace(
        executor=executor,
        replicating=True,
        nonce=b"n",
        keys=[ShardKeys("p", index) for index in range(SHARDS)],
        wake=lambda: None,
    )
    shards = [Shard(index) for index in range(SHARDS)]
    made = Publisher(shards, redis, clock=SYSTEM_CLOCK, events=Events(), level=level, outbox=None)
    return made, shards[ENTRY.shard]


class Down:
    """A server that does not tell what is on its disk, and is away."""

    def fsyncs(self):
        return False

    async def usable(self, *_):
        return False


async def test_a_level_of_the_settings_that_is_not_to_be_had_keeps_no_revocation_from_holding():
    """A failover may lead to a node without an append-only file; logouts must go on."""
    made, shard = publisher(Down(), Level.FSYNCED)
    receipt = await made.publish(ENTRY, "jti", None, 0.1)
    assert (receipt.level, receipt.wanted) == (Level.LOCAL, Level.REPLICATED)
    assert shard.replica.score(ENTRY.member) == ENTRY.score
    assert shard.dirty == (ENTRY,)


async def test_a_level_that_is_named_and_not_to_be_had_is_refused():
    made, shard = publisher(Down(), None)
    with pytest.raises(LevelUnavailableError):
        await made.publish(ENTRY, "jti", Level.FSYNCED, 0.1)
    assert not shard.dirty
