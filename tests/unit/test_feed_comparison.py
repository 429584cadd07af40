"""A comparison of a day with a Redis that is the join script's model."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Events
from aragora_redis.state.breathing import BREATH
from aragora_redis.state.revocations.feed_clocks import FeedClocks
from aragora_redis.state.revocations.feed_comparison import Comparison
from aragora_redis.tokens.entry import DAY, Entry
from aragora_redis.tokens.model import ShardModel
from aragora_redis.tokens.operations import ShardKeys
from aragora_redis.tokens.position import Position
from aragora_redis.tokens.shard import Head, Shard


def now():
    return int(SYSTEM_CLOCK.wall() * 1_000_000)


TODAY = now() // 1_000_000 // DAY


def entry(number, score):
    return Entry(TODAY, bytes([0]) * 15 + bytes([number]), score)


def held(shard):
    return {each.member: each.score for each in shard.replica.entries()}


class There:
    """Answers as the scripts do."""

    def __init__(self, entries):
        self.model = ShardModel(b"r")
        self.model.join(entries, nonce=b"n", now=now())

    async def ask(self, operation: Any) -> Any:
        name = operation.args[0] if operation.script is None else operation.script.name
        match name:
            case "survey":
                return self.model.head(now())
            case "ZSCAN":
                day = int(operation.keys[0].rpartition(b":")[2])
                return b"0", dict(self.model.days.get(day, {}))
            case _:
                return True

    async def publish(self, shard, entries, *, own):  # noqa: ARG002 - as the feed does
        self.model.join(list(entries), nonce=b"n", now=now())


def comparing(redis):
    events = Events()
    clocks = FeedClocks(SYSTEM_CLOCK, events)
    keys = [ShardKeys("p", 0)]
    return Comparison(
        keys, SYSTEM_CLOCK, clocks, events, holder="h", ask=redis.ask, publish=redis.publish
    )


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ([entry(1, 2000)], [entry(1, 1000)]),
        ([entry(1, 1000)], [entry(1, 2000)]),
        ([entry(1, 2000), entry(2, 5)], [entry(1, 1000), entry(3, 7)]),
        ([entry(1, 2000)], [entry(1, 2000)]),
        ([entry(1, 2000)], [entry(9, 1)]),
    ],
    ids=["greater here", "greater there", "each has more", "equal", "as many, of others"],
)
async def test_in_the_end_both_hold_the_greater_scores_of_both(here, there):
    redis, shard = There(there), Shard(0)
    for each in here:
        shard.replica.apply(each)
    assert await comparing(redis).compare_if_free(shard)
    united: dict[bytes, int] = {}
    for each in (*here, *there):
        united[each.member] = max(united.get(each.member, 0), each.score)
    assert held(shard) == redis.model.days[TODAY] == united


async def test_what_a_wipe_took_is_found_in_one_walk_that_lets_others_run(monkeypatch):
    redis, shard = There([]), Shard(0)
    days, a_day = 30, 500
    lost = [Entry(TODAY + number % days, number.to_bytes(16), 1) for number in range(days * a_day)]
    for each in lost:
        shard.replica.apply(each)
    walks = turns = 0
    entries = shard.replica.entries

    def walked():
        nonlocal walks
        walks += 1
        return entries()

    monkeypatch.setattr(shard.replica, "entries", walked)

    async def take_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    assert await comparing(redis).compare_if_free(shard)
    other.cancel()
    assert sum(len(members) for members in redis.model.days.values()) == len(lost)
    assert walks == 1
    assert turns >= len(lost) / BREATH


async def test_what_was_pushed_into_a_later_history_is_published_again_when_that_is_lost():
    """It is not part of what the comparison has seen."""

    class Replaced(There):
        async def publish(self, shard, entries, *, own):
            self.lagging = copy.deepcopy(self.model)
            self.model = self.model.promoted(b"r2")
            position, _ = self.model.join(list(entries), nonce=b"n", now=now())
            shard.confirmed(position, list(entries), own=own)

    redis, shard, lost = Replaced([entry(2, 5)]), Shard(0), entry(1, 2000)
    comparison = comparing(redis)
    await comparison.compare(shard)
    shard.replica.apply(lost)
    await comparison.compare(shard)

    redis.model = redis.lagging.promoted(b"r3")
    redis.model.join([], nonce=b"n", now=now())
    head = redis.model.head(now())
    assert head is not None
    assert lost in shard.on_head(head, asked_at=shard.position).learned


def test_a_comparison_forgets_nothing_of_a_later_history():
    shard, lost = Shard(0), entry(1, 2000)
    shard.on_full(Head(Position(b"n", b"r1", 1, 4), 0, {}))
    shard.confirmed(Position(b"n", b"r2", 2, 1), [lost], own=True)
    shard.on_full(Head(Position(b"n", b"r1", 1, 5), 0, {}))
    plan = shard.on_head(Head(Position(b"n", b"r3", 2, 0), 0, {1: (b"r1", 5)}), asked_at=None)
    assert plan.own == (lost,)


async def test_a_lease_is_taken_when_it_is_used_and_not_while_another_shard_is_read():
    """A large one takes longer than a lease lasts."""

    class Slow(There):
        def __init__(self, entries):
            super().__init__(entries)
            self.leases = []
            self.goes_on = asyncio.Event()

        async def ask(self, operation):
            if operation.script is not None and operation.script.name == "lease":
                self.leases.append(operation.keys)
            if operation.args[:1] == ("ZSCAN",):
                await self.goes_on.wait()
            return await super().ask(operation)

    redis = Slow([entry(1, 1)])
    comparison = comparing(redis)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(comparison.compare(Shard(0)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(redis.leases) == 1
        redis.goes_on.set()
    assert len(redis.leases) == 4, "each was taken and given back"
