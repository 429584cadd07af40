"""What the feed does where Redis is away, or answers oddly; with a stand-in for it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest

from aragora_redis.clock import ServerTime
from aragora_redis.errors import OutageError, UnexpectedReplyError
from aragora_redis.events import EraChanged, Event, Events
from aragora_redis.state.revocations.feed import COMPARE_EVERY, TokenFeed
from aragora_redis.testing import FakeClock
from aragora_redis.tokens import operations
from aragora_redis.tokens.entry import DAY, DAYS, SCORES, SHARDS, Entry
from aragora_redis.tokens.model import ShardModel
from aragora_redis.tokens.operations import FEED_PAGE
from aragora_redis.tokens.position import Position
from aragora_redis.tokens.shard import Head, Shard

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
    """A Redis that nobody reaches, or that answers what cannot be read."""

    def __init__(self, error: Exception):
        self.error = error

    async def run(self, *_: Any, **__: Any):
        raise self.error


def feed(
    executor: Any, clock: Any, server_time: Any = lambda _: None, events: Events | None = None
):
    return TokenFeed(
        executor,
        clock,
        events or Events(),
        prefix="p",
        nonce=b"n",
        holder="h",
        instances=lambda: 1,
        proven_at=lambda _: None,
        server_time=server_time,
        on_reconciled=lambda: None,
    )


async def test_a_clock_far_ahead_removes_nothing_from_memory_while_redis_has_not_been_asked():
    """Nor what an outbox has brought, which this instance alone may still publish."""
    clock = Moved()
    made = feed(Away(OutageError("away")), clock)
    shard = made.shards[ENTRY.shard]
    shard.add_own(ENTRY)
    clock.ahead, clock.passed = 10 * DAY, COMPARE_EVERY + 1
    assert await made._look()
    assert shard.dirty == (ENTRY,)
    assert shard.replica.score(ENTRY.member) == ENTRY.score


async def test_an_era_that_lies_ahead_of_a_clock_that_went_back_is_as_old_as_the_first_look():
    """Or whoever starts would not be ready for as long as the clock went back."""

    class Behind:
        def __init__(self, server_now):
            self.head: Any = Head(Position(b"n", b"r", 1, 4), 3_600_000_000, {}, {}, server_now)

        async def run(self, operation, **_: Any):
            if operation.script is None or operation.script.name != "survey":
                raise OutageError("away")
            return self.head

    clock = Moved()
    made = feed(Behind(1_000_000), clock)
    for _ in range(3):
        for shard in made.shards:
            with pytest.raises(OutageError):
                await made._follow(shard)
        clock.passed += 3.0
        assert made.settled is (clock.passed >= 6.0)
    made._executor = Behind(3_601_000_000)  # a later era, by a clock that goes well
    with pytest.raises(OutageError):
        await made._follow(made.shards[0])
    assert not made.settled


async def test_the_history_that_is_there_at_the_start_is_not_a_new_one():
    class At:
        def __init__(self):
            self.era = 1

        async def run(self, operation, **_: Any):
            if operation.script is None or operation.script.name != "survey":
                raise OutageError("away")
            position = Position(b"n", b"r%d" % self.era, self.era, 0)
            return Head(position, 0, {}, {}, int(time.time() * 1_000_000))

    redis, events, told = At(), Events(), list[Event]()
    events.subscribe(told.append, to=(EraChanged,))
    made = feed(redis, Moved(), events=events)
    shard = made.shards[0]
    with suppress(OutageError):
        await made._follow(shard)
    assert not told
    shard.position, redis.era = Position(b"n", b"r1", 1, 0), 2
    with suppress(OutageError):
        await made._follow(shard)
    assert told == [EraChanged(0, 2, 0, 0)]


async def test_what_a_clock_that_was_ahead_called_over_is_joined_as_soon_as_it_is_set_right():
    """Not up to a minute later: until then nobody else knows of it."""

    class Ahead:
        """Leaves out what is over by its clock, and takes in all else."""

        def __init__(self):
            self.seq, self.ahead, self.took = 4, 4 * DAY, 0

        def now(self):
            return int((clock.wall() + self.ahead) * 1_000_000)

        def sample(self, _shard):
            return ServerTime(clock.monotonic(), self.now())

        async def run(self, operation, **_: Any):
            there = Position(b"n", b"r", 1, self.seq)
            match operation.script.name if operation.script is not None else "standing":
                case "survey":
                    return Head(there, 0, {}, {}, self.now())
                case "join":
                    self.took += self.ahead == 0
                    return operations.Joined(there, self.took, self.now())
                case "lease":
                    return False
                case _:
                    return there

    clock, redis = Moved(), Ahead()
    made = feed(redis, clock, redis.sample)
    shard = made.shards[ENTRY.shard]
    made._from_ground.clear()
    for each in made.shards:
        each.position = Position(b"n", b"r", 1, redis.seq)
    shard.add_own(ENTRY)
    assert not await made._look()
    assert shard.dirty == (ENTRY,)
    clock.passed += 1.0
    redis.ahead = 0
    await made._look()
    assert redis.took == 1
    clock.passed += 1.0
    await made._look()
    assert redis.took == 1, "compared once"


async def test_a_record_of_the_feed_that_cannot_be_read_is_a_hole():
    """Or the shard would be stuck until it is trimmed: a comparison leads past it."""
    made = feed(Away(UnexpectedReplyError("odd")), Moved())
    shard = made.shards[0]
    shard.on_full(Head(Position(b"n", b"r", 1, 4), 0, {}))
    assert not await made._read_feed(shard, Head(Position(b"n", b"r", 1, 9), 0, {}))


async def test_an_era_that_begins_between_survey_and_reading_ends_the_reading():
    """A whole page of it leads nowhere, and would be asked for again and again."""
    old, now = ShardModel(b"a"), 10**15

    def entry(number):
        return Entry(12_000, bytes([0]) + number.to_bytes(15), 12_000 * 86_400_000 + 5)

    shard = Shard(0)
    old.join([entry(1)], nonce=b"n", now=now)
    head = old.head(now)
    assert head is not None
    shard.on_head(head, asked_at=None)
    shard.on_full(head)
    old.join([entry(2)], nonce=b"n", now=now)
    head = old.head(now)
    assert head is not None
    shard.on_head(head, asked_at=shard.position)
    new = old.promoted(b"b")
    for number in range(FEED_PAGE):
        new.join([entry(10 + number)], nonce=b"n", now=now)

    class Paged:
        asked = 0

        async def run(self, *_: Any, **__: Any):
            self.asked += 1
            assert shard.position is not None
            return new.after(shard.position)[:FEED_PAGE]

    paged = Paged()
    async with asyncio.timeout(5):
        in_step = await feed(paged, FakeClock())._read_feed(shard, head)
    assert in_step, "with what was surveyed; the next look finds the new era"
    assert paged.asked == 2


async def test_what_is_equal_takes_no_lease_and_who_gets_none_goes_on():
    there = Position(b"n", b"r", 1, 7)

    class Full:
        """Stands at one position, holds nothing, and has no lease to give."""

        def __init__(self, clock):
            self.clock = clock
            self.asked: list[str] = []

        async def run(self, operation, **_: Any):
            answers: dict[str, Any] = {
                "survey": Head(there, 0, {}, {}, int(self.clock.wall() * 1_000_000)),
                "lease": False,
            }
            name = operation.script.name if operation.script is not None else "standing"
            self.asked.append(name)
            self.clock.advance(1.0)
            return answers.get(name, there)

    clock = FakeClock()
    redis = Full(clock)
    made, asked = feed(redis, clock), redis.asked
    shard = made.shards[0]
    made._from_ground.clear()
    shard.position = there
    await made._bring_in_step(shard, compare=True)
    assert asked == ["standing", "survey"]
    shard.replica.apply(Entry(int(clock.wall() // DAY) + 1, bytes(16), 1))
    for compare in (True, False):  # and it is tried with the next look again
        asked.clear()
        await made._bring_in_step(shard, compare=compare)
        assert asked == ["standing", "survey", "lease"]
    with pytest.raises(OutageError):
        await made._comparison.compare(shard)


@pytest.mark.parametrize("score", [-1, SCORES, 2**56, 2**63, float("inf"), float("nan")])
def test_a_score_that_no_revocation_has_is_an_error_of_its_shard(score):
    scan = operations.scan_day(operations.ShardKeys("p", 0), ENTRY.day, b"0")
    assert scan.read([b"0", [ENTRY.member, b"%d" % (SCORES - 1)]]) == (
        b"0",
        {ENTRY.member: SCORES - 1},
    )
    with pytest.raises(UnexpectedReplyError):
        scan.read([b"0", [ENTRY.member, str(score).encode()]])


@pytest.mark.parametrize("part", [None, 7, 0.5, [b"0"], {}])
def test_what_is_sent_back_with_the_next_question_is_bytes(part):
    """Else no question could be asked any more."""
    keys = operations.ShardKeys("p", 0)
    head = {b"nonce": b"n", b"rid": b"r", b"era": b"1", b"seq": b"1", b"opened": b"1"}
    flat = [each for pair in (head | {b"rid": part}).items() for each in pair]
    for asked, reply in (
        (operations.scan_day(keys, ENTRY.day, b"0"), [part, []]),
        (operations.standing(keys), [b"n", part, b"1", b"1"]),
        (operations.join(keys, [ENTRY], nonce=b"n"), [part, b"r", 1, 1, 1, 1]),
        (operations.survey(keys), [1, flat, [], []]),
    ):
        with pytest.raises(UnexpectedReplyError):
            asked.read(reply)


@pytest.mark.parametrize("day", [-1, DAYS, 2**24])
def test_a_day_that_no_revocation_has_is_an_error_of_its_shard(day):
    survey = operations.survey(operations.ShardKeys("p", 0))
    head = [b"nonce", b"n", b"rid", b"r", b"era", b"1", b"seq", b"1", b"opened", b"1"]

    def read(named):
        return survey.read([1, head, [b"c:%d" % named, b"1", b"x:%d" % named, b"0"], []])

    assert read(DAYS - 1).digests == {DAYS - 1: (1, 0)}
    with pytest.raises(UnexpectedReplyError):
        read(day)


async def test_a_look_whose_connection_changed_meanwhile_vouches_for_nothing():
    """What was asked last was answered by another server, whose history nobody has looked at."""
    there = Position(b"n", b"r", 1, 7)

    class Switched:
        async def run(self, *_: Any, **__: Any):
            asked.append(there)
            if len(asked) == SHARDS:
                made.on_link_up(range(SHARDS))
            return there

    asked: list[Position] = []

    async def over():
        raise asyncio.CancelledError

    made: Any = feed(Switched(), Moved())
    made._proven_at = lambda _: 5.0
    made._pause = over
    made._from_ground.clear()
    for shard in made.shards:
        shard.position = there
    with pytest.raises(asyncio.CancelledError):
        await made.run()
    assert len(asked) == SHARDS
    assert made.looked_at == made.fresh_at() == float("-inf")


@pytest.mark.parametrize("number", [b"9" * 5000, b"-1", "²".encode(), b""])
def test_a_message_whose_number_is_none_is_told_as_one_that_cannot_be_read(number):
    """Or who may publish there could end the connections of all."""
    with pytest.raises(UnexpectedReplyError):
        operations.read_message(b"n r %s 1 " % number)
