"""Which level is waited for, with a stand-in for Redis."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LevelUnavailableError, OutcomeUnknownError
from aragora_redis.events import Events
from aragora_redis.state.revocations.publisher import Publisher
from aragora_redis.state.revocations.receipt import Level
from aragora_redis.tokens.entry import DAY, SHARDS, Entry
from aragora_redis.tokens.operations import Joined, ShardKeys
from aragora_redis.tokens.position import Position
from aragora_redis.tokens.shard import Shard

ENTRY = Entry(int(time.time() // DAY), bytes(16), 7)


def publisher(executor, level):
    redis: Any = SimpleNamespace(
        executor=executor,
        replicating=True,
        nonce=b"n",
        keys=[ShardKeys("p", index) for index in range(SHARDS)],
        wake=lambda: None,
        required=lambda _: 0,
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


async def test_i5_an_import_that_no_primary_confirmed_is_not_called_undone():
    """It is in force here, and a comparison of digests may carry it on at any time."""
    made, shard = publisher(Down(), None)
    with pytest.raises(OutcomeUnknownError):
        await made.publish_all([ENTRY], 0.1)
    assert shard.replica.score(ENTRY.member) == ENTRY.score


class Ahead:
    """A primary whose clock is some days ahead of ours; it leaves out what is over by that."""

    def __init__(self, days):
        self.now = int((time.time() + days * DAY) * 1_000_000)

    async def usable(self, *_):
        return True

    def submit(self, *_, **__):
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(Joined(Position(b"n", b"r", 1, 1), 1, self.now))
        return SimpleNamespace(primary=answer)


@pytest.mark.parametrize(
    ("days", "level", "owed"), [(0, Level.PRIMARY, ()), (2, Level.LOCAL, (ENTRY,))]
)
async def test_what_the_servers_clock_calls_over_is_not_taken_for_stored(days, level, owed):
    made, shard = publisher(Ahead(days), Level.PRIMARY)
    assert (await made.publish(ENTRY, "jti", None, 1.0)).level is level
    assert shard.dirty == owed


def test_a_level_is_printed_by_its_word():
    assert f"{Level.FSYNCED} {Level.LOCAL!s}" == "fsynced local"
