"""Beats: who counts as live, and when a fleet is of one mind."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aragora_redis.errors import AragoraRedisError, RefusedError
from aragora_redis.link.executor import Executor
from aragora_redis.rate_limit.share import FleetSize
from aragora_redis.state.presence import BEAT_EVERY, Presence, Pulse
from aragora_redis.testing import FakeClock


class FakeRedis:
    """Answers beats with what the test put down."""

    def __init__(self, clock):
        self.clock = clock
        self.takes = 0.0
        self.answer: Pulse | AragoraRedisError = RefusedError("NOREPLICAS", "no")

    async def run(self, _operation, *, within):
        assert within > 0
        self.clock.advance(self.takes)
        if isinstance(self.answer, AragoraRedisError):
            raise self.answer
        return self.answer


class Beating:
    def __init__(self):
        self.clock = FakeClock()
        self.redis = FakeRedis(self.clock)
        self.fleet = FleetSize()
        self.eras = "eras-1"
        self.beats: list[AragoraRedisError | None] = []
        self.presence = Presence(
            cast("Executor", self.redis),
            self.clock,
            prefix="p",
            row_id="me",
            policies=lambda: "hash",
            row=lambda: "id",
            eras=lambda: self.eras,
            fleet=self.fleet,
            on_beat=self.beats.append,
        )

    def sees(self, *ids, agreed=None, version=b"1"):
        count = len(ids) if agreed is None else agreed
        there = tuple(f"+{boot_id}" for boot_id in ids)
        self.redis.answer = Pulse(5_000_000, len(ids), count, version, there, len(ids), whole=True)

    async def beat(self, after=BEAT_EVERY):
        self.clock.advance(after)
        await self.presence.beat()


@pytest.fixture
def beating():
    return Beating()


async def test_beats_out_of_turn_do_not_count_as_quiet(beating):
    """After an outage all rows have expired, and pokes come in bursts."""
    beating.sees("me", "b", "c")
    await beating.beat()
    beating.sees("me", version=b"2")
    for _ in range(10):
        await beating.beat(after=0.01)
    assert beating.fleet.size == 3
    for _ in range(3):
        await beating.beat()
    assert beating.fleet.size == 1


async def test_the_list_is_kept_while_its_version_is(beating):
    beating.sees("me", "b")
    await beating.beat()
    beating.redis.answer = Pulse(5_000_000, 2, 2, b"1", (), 2, whole=False)
    for _ in range(4):
        await beating.beat()
    assert beating.fleet.ids == ("b", "me")


async def test_changes_are_those_of_the_list_that_is_known(beating):
    beating.sees("me", "b")
    await beating.beat()
    changes = ("-b", "+c", "+d", "-d", "+e", "-e", "+e")
    beating.redis.answer = Pulse(5_000_000, 3, 3, b"2", changes, 3, whole=False)
    for _ in range(4):
        await beating.beat()
    assert beating.fleet.ids == ("c", "e", "me")
    beating.sees("me", version=b"3")
    for _ in range(4):
        await beating.beat()
    assert beating.fleet.ids == ("me",)


async def test_a_fleet_is_of_one_mind_only_about_what_is_so_now(beating):
    beating.sees("me", "b")
    await beating.beat()
    assert beating.presence.agreed_since is not None
    beating.eras = "eras-2"
    assert beating.presence.agreed_since is None, "the others agreed on something else"
    await beating.beat()
    assert beating.presence.agreed_since is not None
    beating.sees("me", "b", agreed=1)
    await beating.beat()
    assert beating.presence.agreed_since is None


async def test_they_have_agreed_since_the_first_answer_that_said_so_of_the_same_ones(beating):
    beating.sees("me", "b")
    beating.redis.takes = 0.2
    await beating.beat()
    first = beating.clock.monotonic()
    await beating.beat()
    assert beating.presence.agreed_since == pytest.approx(first)
    beating.sees("me", "b", "c", version=b"2")
    await beating.beat()
    assert beating.presence.agreed_since == pytest.approx(beating.clock.monotonic())


async def test_a_refused_beat_proves_nothing_and_takes_agreement_back(beating):
    beating.sees("me")
    await beating.beat()
    accepted = beating.presence.accepted_at
    beating.redis.answer = RefusedError("NOREPLICAS", "no")
    await beating.beat()
    assert beating.presence.accepted_at == accepted
    assert beating.presence.agreed_since is None
    assert [type(error) for error in beating.beats] == [type(None), RefusedError]


async def test_memory_that_is_full_is_told_of_by_beats_that_are_accepted(beating):
    beating.sees("me")
    full = RefusedError("OOM", "full")
    beating.redis.answer = beating.redis.answer._replace(full=full)
    await beating.beat()
    assert beating.beats == [full]
    assert beating.presence.accepted_at is not None
    assert beating.presence.agreed_since is not None


async def test_an_accepted_beat_proves_the_moment_of_its_sending(beating):
    beating.sees("me")
    beating.redis.takes = 0.2
    await beating.beat()
    assert beating.presence.accepted_at == pytest.approx(beating.clock.monotonic() - 0.2)


def test_garbage_in_a_pulse_is_a_typed_error(beating):
    read: Any = beating.presence._operation("e").read
    good = [1, 1, 1, b"v", [b"+me"], 1, 1, b""]
    assert read(good).version == b"v"
    no_version = [[*good[:3], version, *good[4:]] for version in (None, 7, [b"v"], 0.5)]
    no_id = [1, 1, 1, b"v", [7], 1, 0, b""]
    no_error = [*good[:7], 7]
    no_time = [b"x", *good[1:]]
    for reply in (None, [], [1, 2], good[:7], no_time, no_id, no_error, *no_version):
        with pytest.raises(AragoraRedisError):
            read(reply)


async def test_only_who_was_there_says_that_it_ends_and_nothing_comes_of_a_refusal(beating):
    asked = list[Any]()
    run = beating.redis.run

    async def noted(operation, *, within):
        asked.append(operation.args)
        return await run(operation, within=within)

    beating.redis.run = noted
    await beating.presence.leave()
    assert not asked
    beating.sees("me")
    await beating.beat()
    beating.redis.answer = RefusedError("NOREPLICAS", "no")
    await beating.presence.leave()
    assert asked[-1][1] == "", "the row"
    assert beating.beats == [None], "an end is no beat"
