"""The list of buckets with a limit of their own: what the scripts do, their models do too."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from aragora_redis.errors import AragoraRedisError
from aragora_redis.rate_limit import own
from aragora_redis.rate_limit.gcra import Own
from aragora_redis.rate_limit.policy import Rate

RATE = Rate("5/second")
FOR_GOOD = 2**52
_numbers = itertools.count()


class World:
    """One side, and a list of its own."""

    def __init__(self, side):
        self.side = side
        self.policy = f"p{next(_numbers)}"

    def run(self, operation, **more):
        return asyncio.run(self.side.run(operation, within=1, **more))

    def list(self, key, ttl=None, actor="ann", **more):
        self.run(own.listed("x", self.policy, key, RATE, ttl=ttl, actor=actor), **more)

    def page(self, after=0, most=10):
        return self.run(own.page("x", self.policy, after, most))

    def drop(self, *keys):
        return self.run(own.dropped("x", self.policy, keys))

    @property
    def shown(self):
        return [each.key for each in self.page()]


@pytest.fixture
def world(side):
    return World(side)


def test_those_that_end_first_are_in_front_and_pages_follow_one_another(world):
    for key, ttl in ((b"a", None), (b"b", 100.0), (b"c", 50.0), (b"d", None)):
        world.list(key, ttl)
    assert world.shown == [b"c", b"b", b"a", b"d"]
    found, after = [], 0
    while page := world.page(after, 1):
        found += page
        after = page[-1].position
    assert [each.key for each in found] == world.shown
    assert found[0].position < FOR_GOOD < found[2].position


def test_who_gave_it_is_told_of_that_limit_alone(world):
    world.list(b"a", actor="ann b. ü")
    [listed] = world.page()
    since, actor = listed.given(Own(0, RATE.count, RATE.period_us, RATE.burst, 0))
    assert abs(since - world.side.now()) < 10
    assert actor == "ann b. ü"
    assert listed.given(Own(0, RATE.count, RATE.period_us, RATE.burst + 1, 0)) == (None, None)
    assert listed._replace(told=b"rubbish").given(Own(0, 1, 1, 1, 0)) == (None, None)


def test_what_is_listed_anew_stands_where_the_later_of_both_ends(world):
    world.list(b"a", 1000.0)
    world.list(b"b", 500.0)
    world.list(b"a", 10.0, actor="bob")
    assert world.shown == [b"b", b"a"], "the longer one may still hold"
    assert b"bob" in world.page()[1].told
    world.list(b"b")
    assert world.shown == [b"a", b"b"]


def test_what_was_listed_just_now_is_not_dropped(world, monkeypatch):
    world.list(b"a")
    world.list(b"b")
    assert world.drop(b"a", b"never") == 0
    monkeypatch.setattr(own, "DROPPED_AFTER", 1e-6)
    assert world.drop(b"a", b"never") == 1
    assert world.shown == [b"b"]
    assert world.drop(b"a") == 0


def test_what_has_ended_leaves_the_list(world, monkeypatch):
    monkeypatch.setattr(own, "DROPPED_AFTER", 0.0)
    world.list(b"a", 1e-6)
    world.list(b"b")
    assert world.shown == [b"b"]
    monkeypatch.setattr(own, "DROPPED_AFTER", 1e-6)
    assert world.drop(b"a") == 0, "it is off the list, not only hidden"


def test_what_is_of_another_type_is_replaced_and_hinders_nobody(on_server):
    world = World(on_server)
    for key in own._keys("x", world.policy):
        on_server.client.set(key, "rubbish")
    assert world.page() == []
    world.list(b"a")
    assert world.shown == [b"a"]


def test_no_two_stand_at_one_place(on_server):
    world = World(on_server)
    world.list(b"a", 1000.0)
    [there] = world.page()
    on_server.client.zadd(own._keys("x", world.policy)[0], {b"z": there.position})
    world.list(b"a", 10.0)
    assert len({each.position for each in world.page()}) == 2


def test_past_not_after_nothing_runs(on_server):
    world = World(on_server)
    with pytest.raises(Exception, match="LATE"):
        world.list(b"a", not_after=1)
    assert world.page() == []


def test_a_server_that_refuses_writes_is_left_as_it_was(own_server):
    world = World(own_server)
    world.list(b"a")
    before = [own_server.client.dump(key) for key in own._keys("x", world.policy)]
    own_server.client.config_set("min-replicas-to-write", 1)
    with pytest.raises(Exception, match=r"NOREPLICAS|good replicas"):
        world.list(b"b")
    own_server.client.config_set("min-replicas-to-write", 0)
    assert before == [own_server.client.dump(key) for key in own._keys("x", world.policy)]


def test_a_reply_that_is_none_is_told():
    with pytest.raises(AragoraRedisError):
        own.page("x", "p", 0, 1).result(7)
