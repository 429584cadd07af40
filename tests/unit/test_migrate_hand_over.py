"""A hand-over that somebody wants to end is brought to its end first."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.commands import to_the_end
from aragora_redis.ops.migrate import hand_over
from aragora_redis.ops.migrate.replication import MoveError, Role


async def cancelled(task, times=3):
    """What becomes of a task that is told again and again to end."""
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    return (await asyncio.gather(task, return_exceptions=True))[0]


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
async def test_what_is_begun_is_brought_to_its_end_however_often_we_are_cancelled(fails):
    steps = []

    async def work():
        for step in range(9):
            await asyncio.sleep(0)
            steps.append(step)
        if fails:
            raise MoveError("it cannot go on")

    task = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    ended = await cancelled(task)
    assert steps == list(range(9))
    # What became of it is told before that somebody wanted it to end.
    assert isinstance(ended, MoveError if fails else asyncio.CancelledError)


class Giver:
    """A server that notes what is asked of it, and whether its connection is still there."""

    address = Address("10.0.0.1", 6379)

    def __init__(self, log):
        self._log = log
        self._closed = False

    @asynccontextmanager
    async def open(self):
        yield self
        self._closed = True

    async def client_pause(self, *_, **__):
        self._note("hold")

    async def client_unpause(self):
        self._note("let go")

    def _note(self, what):
        assert not self._closed
        self._log.append(what)


async def test_an_exchange_that_is_cancelled_ends_with_one_who_takes_writes(monkeypatch):
    log: list[str] = []
    given_up = asyncio.Event()

    def noting(what):
        async def step(*_servers, **_how):
            log.append(what)
            given_up.set()
            for _ in range(5):
                await asyncio.sleep(0)

        return step

    async def role_of(_server):
        return Role(
            primary=True,
            follows=None,
            linked=True,
            offset=10,
            left=0,
            size=0,
            histories=("history", "0"),
        )

    async def caught_up(*_):
        pass

    for name, made in {
        "role_of": role_of,
        "_caught_up": caught_up,
        "follow": noting("given up"),
        "remember": noting("remembered"),
        "promote": noting("taken"),
        "follow_the_promoted": noting("followed"),
    }.items():
        monkeypatch.setattr(hand_over, name, made)
    giver: Any = Giver(log)
    task = asyncio.create_task(
        hand_over.hand_over(giver, giver, (), SYSTEM_CLOCK, lambda _goal: None)
    )
    await given_up.wait()
    assert isinstance(await cancelled(task), asyncio.CancelledError)
    assert log == ["hold", "hold", "given up", "remembered", "taken", "followed", "let go"]
