"""What the feed does where Redis is away, or answers oddly; with a stand-in for it."""

from __future__ import annotations

import time
from typing import Any

from aragora_redis.errors import OutageError
from aragora_redis.events import Events
from aragora_redis.state.token_feed import COMPARE_EVERY, TokenFeed
from aragora_redis.tokens.entry import DAY, Entry

ENTRY = Entry(int(time.time() // DAY), bytes(16), 7)


class Moved:
    """A clock that is moved by hand."""

    def __init__(self):
        self.ahead = self.passed = 0.0

    def monotonic(self):
        return self.passed

    def wall(self):
        return time.time() + self.ahead + self.passed


class Away:
    """A Redis that nobody reaches."""

    async def run(self, *_: Any, **__: Any):
        raise OutageError("away")


def feed(executor: Any, clock: Any):
    return TokenFeed(
        executor,
        clock,
        Events(),
        prefix="p",
        nonce=b"n",
        holder="h",
        instances=lambda: 1,
        proven_at=lambda _: None,
        on_reconciled=lambda: None,
    )


async def test_a_clock_far_ahead_removes_nothing_from_memory_while_redis_has_not_been_asked():
    """Nor what an outbox has brought, which this instance alone may still publish."""
    clock = Moved()
    made = feed(Away(), clock)
    shard = made.shards[ENTRY.shard]
    shard.add_own(ENTRY)
    clock.ahead, clock.passed = 10 * DAY, COMPARE_EVERY + 1
    assert await made._look()
    assert shard.dirty == (ENTRY,)
    assert shard.replica.score(ENTRY.member) == ENTRY.score
