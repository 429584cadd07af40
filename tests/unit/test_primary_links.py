"""The lanes to a primary that is replaced while they connect."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Events
from aragora_redis.link import herd, primary
from aragora_redis.link.connection import Login
from aragora_redis.link.primary import PrimaryLinks
from aragora_redis.link.verification import Verification


class Handshake:
    """One that asks in the next turn of the loop, as the real one does."""

    def __init__(self) -> None:
        self.began: asyncio.Queue[None] = asyncio.Queue()
        self.asked = 0

    async def run(self, *_: Any, **__: Any) -> Any:
        self.began.put_nowait(None)
        await asyncio.gather(self._ask())

    async def _ask(self) -> None:
        self.asked += 1
        await asyncio.Event().wait()


@pytest.fixture
def dialed():
    return list[float]()


@pytest.fixture
def handshake(monkeypatch, dialed):
    class Closable:
        def close(self, reason: str) -> None:
            del reason

    async def connect(*_: Any, **__: Any) -> Closable:
        dialed.append(SYSTEM_CLOCK.monotonic())
        return Closable()

    monkeypatch.setattr(primary, "connect", connect)
    return Handshake()


def links_of(handshake: Handshake, *, instances: int = 1) -> PrimaryLinks:
    return PrimaryLinks(
        cast("Login", None),
        clock=SYSTEM_CLOCK,
        events=Events(),
        deadline=0.05,
        verification=cast("Verification", handshake),
        instances=lambda: instances,
        on_push=lambda _: None,
        heard_majority_since=lambda _: True,
        on_up=lambda _: None,
        on_trouble=lambda: None,
    )


async def test_each_of_many_comes_to_another_primary_in_its_turn(handshake, dialed, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    links = links_of(handshake, instances=herd.AT_ONCE + 150)
    began = SYSTEM_CLOCK.monotonic()
    links.aim(Address("127.0.0.1", 1))
    await asyncio.sleep(0)
    links.hurry()  # shortens pauses, and not the turn
    async with asyncio.timeout(5):
        for _ in links.lanes:
            await handshake.began.get()
    assert min(dialed) - began >= 150 * herd.EACH
    await links.close()


async def test_i3_nothing_is_asked_of_a_retired_primary_by_a_connection_under_way(handshake):
    """Its slots had gone to another node; three questions went out 8 ms after that was known."""
    links = links_of(handshake)
    links.aim(Address("127.0.0.1", 1))
    async with asyncio.timeout(5):
        for _ in links.lanes:
            await handshake.began.get()
    assert handshake.asked == 0
    links.retire("another node has its slots")
    for _ in range(5):
        await asyncio.sleep(0)
    assert handshake.asked == 0
    await links.close()
