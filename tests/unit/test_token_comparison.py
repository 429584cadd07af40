"""The feed over a Redis that only says what it is told to: leases, and who waits for them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aragora_redis.errors import OutageError
from aragora_redis.events import Events
from aragora_redis.link.executor import Executor
from aragora_redis.state.token_feed import TokenFeed
from aragora_redis.testing import FakeClock
from aragora_redis.tokens.entry import DAY, Entry
from aragora_redis.tokens.shard import Head, Position

THERE = Position(b"n", b"r", 1, 7)


class Full:
    """Stands at one position, holds nothing, and has no lease to give."""

    def __init__(self, clock):
        self.clock = clock
        self.asked: list[str] = []

    async def run(self, operation, *, within):  # noqa: ARG002 - it answers at once
        answers: dict[str, Any] = {
            "survey": Head(THERE, 0, {}, {}, int(self.clock.wall() * 1_000_000)),
            "lease": False,
        }
        name = operation.script.name if operation.script is not None else "standing"
        self.asked.append(name)
        self.clock.advance(1.0)
        return answers.get(name, THERE)


@pytest.fixture
def feed():
    clock = FakeClock()
    return TokenFeed(
        cast("Executor", Full(clock)),
        clock,
        Events(),
        prefix="p",
        nonce=b"n",
        holder="h",
        instances=lambda: 1,
        proven_at=lambda _shard: None,
        on_reconciled=lambda: None,
    )


async def test_what_is_equal_takes_no_lease_and_who_gets_none_goes_on(feed):
    shard, asked = feed.shards[0], feed._executor.asked
    feed._from_ground.clear()
    shard.position = THERE
    await feed._bring_in_step(shard, compare=True)
    assert asked == ["standing", "survey"]
    shard.replica.apply(Entry(int(feed._clock.wall() // DAY) + 1, bytes(16), 1))
    for compare in (True, False):  # and it is tried with the next look again
        asked.clear()
        await feed._bring_in_step(shard, compare=compare)
        assert asked == ["standing", "survey", "lease"]
    with pytest.raises(OutageError):
        await feed._comparison.compare(shard)
