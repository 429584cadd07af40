"""The look for pardons that fit nothing: it must not hold up the loop."""

from __future__ import annotations

import asyncio
from typing import Any

from aragora_redis.events import Events
from aragora_redis.state.breathing import BREATH
from aragora_redis.state.revocations.pardons import StrayPardons
from aragora_redis.tokens.entry import DAY, Entry
from aragora_redis.tokens.pardon import Pardons
from aragora_redis.tokens.shard import Shard

SCORE = 20_000 * DAY * 1000


def shard_with(count, pardons):
    shard = Shard(0)
    entries = [Entry(20_000, number.to_bytes(8, "big"), SCORE) for number in range(count)]
    for entry in entries:
        shard.replica.apply(entry)
    shard.replica.apply(pardons.pardon(entries[-1], ""))
    return shard


async def test_others_have_their_turn_while_a_shard_is_walked():
    pardons = Pardons(b"k" * 32)
    strays = StrayPardons([shard_with(5 * BREATH, pardons)], pardons, Events())
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await strays.look(0, again=False)
    beside.cancel()
    assert turns >= 5
    assert not strays._stray[0]


async def test_without_a_key_all_are_strays_and_nothing_is_walked():
    shard: Any = shard_with(3, Pardons(b"k" * 32))
    shard.replica.entries = None
    strays = StrayPardons([shard], Pardons(None), Events())
    await strays.look(0, again=False)
    assert len(strays._stray[0]) == 1
