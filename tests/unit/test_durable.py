"""Group commit: what a WAIT may speak for, and what is told to whom."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import (
    AragoraRedisError,
    DeadlineError,
    LinkDownError,
    OutcomeUnknownError,
    OverloadedError,
    RefusedError,
)
from aragora_redis.link.durable import WAIT_SLICE_MS, GroupCommit
from aragora_redis.link.executor import Executor
from aragora_redis.link.mux import Mux
from aragora_redis.operation import Kind, Operation
from aragora_redis.state.revocations.commitment import RedisSide, commit
from aragora_redis.state.revocations.receipt import Level
from aragora_redis.tokens.entry import Entry
from aragora_redis.tokens.operations import ShardKeys
from aragora_redis.tokens.shard import Shard


class FakeMux:
    """Answers joins and WAITs from a script; notes what was asked."""

    def __init__(self):
        self.generation = 1
        self.asked: list[str] = []
        self.deadlines: list[float] = []
        self.joins: list[object] = []
        self.waits: list[object] = []
        self.syncs: list[object] = []
        self.on_wait = lambda: None

    def submit(self, operation, deadline):
        self.deadlines.append(deadline)
        future = asyncio.get_running_loop().create_future()
        self.asked.append(operation.args[0])
        waiting = operation.args[0] == "WAIT"
        if operation.args[0] == "WAITAOF":
            future.set_result(self.syncs.pop(0) if self.syncs else [0, 0])
            return future
        answers = self.waits if waiting else self.joins
        answer = answers.pop(0) if answers else (0 if waiting else "joined")
        if isinstance(answer, AragoraRedisError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        if waiting:
            self.on_wait()
        return future


def never(error):
    raise AssertionError(error)


@pytest.fixture
def mux():
    return FakeMux()


@pytest.fixture
async def group(mux):
    made = GroupCommit(cast("Mux", mux), lambda: 2, SYSTEM_CLOCK, on_redirect=never)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def join(name="JOIN"):
    return Operation(kind=Kind.JOIN, keys=(), args=(name,), read=lambda reply: reply)


def soon(seconds=1.0):
    return SYSTEM_CLOCK.monotonic() + seconds


async def test_what_nobody_waits_for_any_more_is_never_sent(group, mux):
    """Its owner was told so, and a timer may be ahead of the clock by a grain."""
    ticket = group.submit(join("J"), soon())
    ticket.primary.cancel()
    other = group.submit(join("other"), soon())
    await other.primary
    assert (ticket.sent, other.sent) == (False, True)
    assert "J" not in mux.asked


async def test_joins_of_one_moment_share_a_wait(group, mux):
    mux.waits = [2]
    tickets = [group.submit(join(f"J{n}"), soon()) for n in range(3)]
    assert [await t.replicated for t in tickets] == [2, 2, 2]
    assert mux.asked == ["J0", "J1", "J2", "WAIT"]


async def test_a_later_wait_covers_what_a_slow_replica_missed(group, mux):
    mux.waits = [1, 1, 2]
    ticket = group.submit(join(), soon())
    assert await ticket.replicated == 2
    assert mux.asked == ["JOIN", "WAIT", "WAIT", "WAIT"]


async def test_too_few_acknowledgements_are_none(group, mux):
    mux.waits = [1] * 100
    mux.on_wait = lambda: None
    ticket = group.submit(join(), soon(0.05))
    assert await ticket.primary == "joined"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ticket.replicated, 0.1)


async def test_after_a_reconnect_it_is_joined_again_before_a_wait_counts(group, mux):
    def reconnect():
        mux.generation = 2
        mux.on_wait = lambda: None

    mux.waits = [2, 2]
    mux.on_wait = reconnect
    ticket = group.submit(join(), soon())
    assert await ticket.replicated == 2
    assert mux.asked == ["JOIN", "WAIT", "JOIN", "WAIT"]


async def test_a_join_that_the_new_primary_refuses_is_not_replicated(group, mux):
    """The WAIT on the fresh connection is answered, but speaks for nothing."""

    def reconnect():
        mux.generation = 2
        mux.on_wait = lambda: None

    mux.joins = ["joined", RefusedError("OOM", "no")]
    mux.waits = [2, 2]
    mux.on_wait = reconnect
    ticket = group.submit(join(), soon())
    assert await ticket.primary == "joined"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ticket.replicated, 0.1)


async def test_a_join_that_the_new_primary_leaves_out_is_not_replicated(group, mux):
    """As one does whose clock calls it over: it is answered, and stored nowhere."""

    def reconnect():
        mux.generation = 2
        mux.on_wait = lambda: None

    mux.joins = ["joined", "left out"]
    mux.waits = [2, 2]
    mux.on_wait = reconnect
    ticket = group.submit(join(), soon(), accepted=lambda reply: reply == "joined")
    assert await ticket.primary == "joined"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ticket.replicated, 0.1)
    assert mux.asked[:3] == ["JOIN", "WAIT", "JOIN"]


async def test_nothing_may_run_later_than_its_owner_waits(group, mux):
    until = soon(0.05)
    await group.submit(join("BRIEF"), until).primary
    await group.submit(join("LONG"), soon(60)).primary
    deadlines = dict(zip(mux.asked, mux.deadlines, strict=True))
    assert deadlines["BRIEF"] == until
    assert deadlines["LONG"] < soon(1)


async def test_what_must_be_on_disk_is_waited_for_there_and_on_all_that_count(group, mux):
    mux.waits = [2] * 9
    mux.syncs = [[0, 2], [1, 1], [1, 2]]
    plain, ticket = group.submit(join("A"), soon()), group.submit(join("B"), soon(), fsync=True)
    assert await plain.replicated == 2
    assert await ticket.fsynced == 2
    assert mux.asked[:4] == ["A", "B", "WAIT", "WAITAOF"]
    assert mux.asked.count("WAITAOF") == 3
    assert not plain.fsynced.done()


async def test_on_disk_they_count_who_counted_when_they_had_it(mux):
    """Sentinels whose words are old by then say of nobody any more that it counts."""
    counting = [2, 0]
    made = GroupCommit(
        cast("Mux", mux),
        lambda: counting.pop(0) if len(counting) > 1 else counting[0],
        SYSTEM_CLOCK,
        on_redirect=never,
    )
    mux.waits, mux.syncs = [2] * 9, [[1, 0], [1, 0], [1, 1], [1, 2]]
    running = asyncio.create_task(made.run())
    ticket = made.submit(join(), soon(), fsync=True)
    assert await ticket.replicated == 2
    assert await ticket.fsynced == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_after_a_reconnect_the_disk_is_asked_anew(group, mux):
    def reconnect():
        mux.generation = 2
        mux.on_wait = lambda: None

    mux.waits, mux.syncs = [2, 2], [[1, 2], [1, 2]]
    mux.on_wait = reconnect
    ticket = group.submit(join(), soon(), fsync=True)
    assert await ticket.fsynced == 2
    assert mux.asked == ["JOIN", "WAIT", "WAITAOF", "JOIN", "WAIT", "WAITAOF"]


async def test_a_failed_join_is_told_to_its_owner_alone(group, mux):
    mux.joins = [RefusedError("OOM", "no"), "joined"]
    mux.waits = [2]
    bad, good = group.submit(join("A"), soon()), group.submit(join("B"), soon())
    with pytest.raises(RefusedError):
        await bad.primary
    assert await good.replicated == 2
    assert not bad.replicated.done()


async def test_where_nothing_is_required_nobody_waits(mux):
    group = GroupCommit(cast("Mux", mux), lambda: 0, SYSTEM_CLOCK, on_redirect=never)
    running = asyncio.create_task(group.run())
    began = SYSTEM_CLOCK.monotonic()
    for _ in range(20):
        assert await group.submit(join(), soon()).primary == "joined"
    assert SYSTEM_CLOCK.monotonic() - began < WAIT_SLICE_MS / 1000
    assert "WAIT" not in mux.asked
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_nobody_waits_for_is_not_sent_and_the_queue_has_an_end(mux, monkeypatch):
    monkeypatch.setattr("aragora_redis.link.durable.QUEUE_LIMIT", 3)
    group = GroupCommit(cast("Mux", mux), lambda: 2, SYSTEM_CLOCK, on_redirect=never)
    mux.waits = [2]
    late = [group.submit(join("LATE"), soon(0)) for _ in range(2)]
    timely = group.submit(join("TIMELY"), soon())
    with pytest.raises(OverloadedError):
        group.submit(join("MANY"), soon())
    running = asyncio.create_task(group.run())
    assert await timely.replicated == 2
    assert mux.asked == ["TIMELY", "WAIT"]
    for ticket in late:
        with pytest.raises(DeadlineError):
            await ticket.primary
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_where_the_queue_is_full_a_revocation_is_left_to_the_feed():
    class Full:
        async def usable(self, *_):
            return True

        def submit(self, *_, **__):
            raise OverloadedError("full")

    woken: list[bool] = []
    redis = RedisSide(
        executor=cast("Executor", Full()),
        required=lambda _slot: 0,
        ready=lambda: True,
        staleness=lambda _shards: 0.0,
        nonce=b"n" * 8,
        keys=[ShardKeys("p", 0)],
        wake=lambda: woken.append(True),
        replicating=False,
    )
    entry = Entry(20_000, bytes(16), 1)
    receipt = await commit(redis, SYSTEM_CLOCK, Shard(0), (entry,), Level.PRIMARY, until=soon())
    assert (receipt.level, woken) == (Level.LOCAL, [True])


async def test_who_waits_when_its_primary_is_left_is_told_at_once_whether_it_was_sent():
    """Or each revocation would sit out its second, although the next primary can be reached."""

    class Silent(FakeMux):
        def submit(self, *_):
            return asyncio.get_running_loop().create_future()

    group = GroupCommit(cast(Mux, Silent()), lambda: 1, SYSTEM_CLOCK, on_redirect=never)
    running = asyncio.create_task(group.run())
    sent = group.submit(join(), SYSTEM_CLOCK.monotonic() + 60)
    await asyncio.sleep(0)
    assert sent.sent
    waiting = group.submit(join(), SYSTEM_CLOCK.monotonic() + 60)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(OutcomeUnknownError):
        await sent.primary
    with pytest.raises(LinkDownError):
        await waiting.primary
    with pytest.raises(LinkDownError):
        await group.submit(join(), SYSTEM_CLOCK.monotonic() + 60).primary
