"""A freeze by wire: nobody is answered while it lasts, and everybody soon after its end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from aragora_redis.errors import LabError
from aragora_redis.ops.access import Access
from aragora_redis.ops.drill import RemoteActor, Scenario, freeze
from aragora_redis.ops.targets import SentinelTarget

PIECE = 0.2


@pytest.fixture
def server(make_lab):
    lab = make_lab("standalone")
    lab.start()
    return lab.node("redis-0").address, lab.credentials.redis_password


def actor_at(server, username=None, password=None):
    at, secret = server

    async def switch():
        raise AssertionError

    target = SentinelTarget((at,), "m", Access(username, password or secret))
    return RemoteActor(target, Scenario.FREEZE_PRIMARY, at, switch)


@asynccontextmanager
async def answers_at(server):
    """The instants at which clients that ask without end are answered."""
    (host, port), secret = server
    told: list[float] = []
    over = False  # a cancellation may be lost in redis-py, so they are told to end

    async def ask():
        async with Redis(host=host, port=port, password=secret) as client:
            while not over:
                await client.incr("n")
                told.append(asyncio.get_running_loop().time())

    tasks = [asyncio.create_task(ask()) for _ in range(5)]
    try:
        yield told
    finally:
        over = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_more(told, than):
    async with asyncio.timeout(2):
        while len(told) <= than:  # noqa: ASYNC110 - clients that answer nobody set no event
            await asyncio.sleep(0.01)


async def test_a_freeze_lets_nobody_in_and_ends_soon(server, monkeypatch):
    monkeypatch.setattr(freeze, "PIECE", PIECE)
    actor = actor_at(server)
    async with answers_at(server) as told:
        await until_more(told, 10)
        await actor.begin()
        await asyncio.sleep(PIECE / 4)
        before = len(told)
        await asyncio.sleep(PIECE * 3)
        assert len(told) == before
        await actor.end()
        await until_more(told, before)


async def test_who_may_not_pause_is_told_so(server):
    at, secret = server
    async with Redis(host=at.host, port=at.port, password=secret) as client:
        everything = ("on", ">pw", "~*", "&*", "+@all", "-client")
        await client.execute_command("ACL", "SETUSER", "app", *everything)
    actor = actor_at(server, "app", "pw")
    with pytest.raises(LabError, match=r"does not take CLIENT PAUSE: .*log in as one who may"):
        await actor.begin()
    await actor.end()
