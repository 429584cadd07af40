"""Whether a primary may still speak for the fleet: by its Sentinels, else by its replicas."""

from __future__ import annotations

from typing import cast

import pytest
from tests.unit.test_panel import GROUP, A, B, C, says

from aragora_redis.address import Address
from aragora_redis.errors import LinkDownError
from aragora_redis.link.mux import Mux
from aragora_redis.link.standing import SILENCE, Standing
from aragora_redis.testing import FakeClock
from aragora_redis.topology.panel import Choice, Panel

INFO = "role:master\r\nconnected_slaves:2\r\n{}min_slaves_good_slaves:2\r\n"


class Stage:
    """A clock, and a server that answers INFO."""

    def __init__(self):
        self.clock = FakeClock()
        self.following: list[Address] | None = [B, C]
        self.how = "state=online,offset=14,lag=1"
        self.asked = 0
        self.down: str | None = None
        self.told: list[str] = []
        self.panel = Panel(3)
        self.hear(*GROUP)
        choice = self.panel.decide(self.now)
        assert isinstance(choice, Choice)
        self.panel.adopt(choice.view)
        self.standing = Standing(
            cast("Mux", self), self.panel, self.clock, on_doubt=self.told.append
        )

    @property
    def now(self):
        return self.clock.monotonic()

    async def submit(self, _operation, until):
        assert until - self.now < SILENCE
        self.asked += 1
        if self.following is None:
            raise LinkDownError("it is gone")
        replicas = "".join(
            f"slave{n}:ip={at.host},port={at.port},{self.how}\r\n"
            for n, at in enumerate(self.following)
        )
        return INFO.format(replicas).encode()

    def hear(self, *sentinels):
        for sentinel in sentinels:
            self.panel.record(says(sentinel, A, 1, self.now, replicas=((B, False), (C, False))))


async def test_a_majority_of_sentinels_is_enough():
    stage = Stage()
    stage.clock.advance(SILENCE + 1)
    stage.hear(*GROUP[:2])
    stage.following = []
    await stage.standing.look()
    assert stage.standing.doubt is None
    assert not stage.asked


async def test_what_has_no_link_is_doubted_and_not_told():
    stage = Stage()
    stage.clock.advance(SILENCE + 1)
    stage.down, stage.following = "not connected yet", None
    await stage.standing.look()
    assert stage.standing.doubt is not None
    assert stage.told == []
    stage.down, stage.following = None, [B]
    await stage.standing.look()
    assert len(stage.told) == 1


async def test_without_them_all_replicas_must_follow():
    stage = Stage()
    stage.clock.advance(SILENCE + 1)
    stage.hear(GROUP[0])
    await stage.standing.look()
    assert stage.standing.doubt is None
    assert stage.asked == 1
    stage.following = [C]
    await stage.standing.look()
    await stage.standing.look()
    assert "1 of its 2 replicas" in str(stage.standing.doubt)
    assert len(stage.told) == 1
    stage.hear(*GROUP)
    assert stage.standing.doubt is None, "their word counts at once"
    await stage.standing.look()
    stage.clock.advance(SILENCE + 1)
    assert stage.standing.doubt is None, "until it is looked again"


async def test_who_does_not_answer_vouches_for_nothing():
    stage = Stage()
    stage.clock.advance(SILENCE + 1)
    stage.following = None
    await stage.standing.look()
    assert "it is gone" in str(stage.standing.doubt)


async def test_a_replica_that_was_down_cannot_have_been_promoted():
    stage = Stage()
    for sentinel in GROUP:
        stage.panel.record(says(sentinel, A, 1, stage.now, replicas=((B, True), (C, False))))
    stage.clock.advance(SILENCE + 1)
    stage.following = [C]
    await stage.standing.look()
    assert stage.standing.doubt is None


async def test_one_that_was_down_does_not_stand_in_for_another():
    """It is down to the Sentinels alone: it is on the island, and the other one was promoted."""
    stage = Stage()
    for sentinel in GROUP:
        stage.panel.record(says(sentinel, A, 1, stage.now, replicas=((B, True), (C, False))))
    stage.clock.advance(SILENCE + 1)
    stage.following = [B]
    await stage.standing.look()
    assert "0 of its 1 replicas" in str(stage.standing.doubt)


@pytest.mark.parametrize(
    ("names", "doubted"),
    [
        ([Address("redis-1", 6379), Address("redis-2", 6379)], False),
        ([Address("10.9.0.1", 6379)] * 2, False),  # both behind one address
        ([Address("redis-1", 6379)], True),
        ([B, Address("redis-2", 6379)], False),
    ],
)
async def test_names_that_nobody_has_told_of_are_counted(names, doubted):
    stage = Stage()
    stage.clock.advance(SILENCE + 1)
    stage.following = names
    await stage.standing.look()
    assert (stage.standing.doubt is not None) == doubted


@pytest.mark.parametrize("how", ["state=wait_bgsave,offset=1,lag=0", "state=online,lag=10"])
async def test_a_replica_that_has_not_acknowledged_lately_follows_no_more(how):
    stage = Stage()
    stage.how = how
    stage.clock.advance(SILENCE + 1)
    await stage.standing.look()
    assert "0 of its 2 replicas" in str(stage.standing.doubt)
