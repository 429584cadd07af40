"""The lanes to a primary that is replaced while they connect."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Events
from aragora_redis.link import primary
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
def handshake(monkeypatch):
    class Closable:
        def close(self, reason: str) -> None:
            del reason

    async def connect(*_: Any, **__: Any) -> Closable:
        return Closable()

    monkeypatch.setattr(primary, "connect", connect)
    return Handshake()


async def test_i3_nothing_is_asked_of_a_retired_primary_by_a_connection_under_way(handshake):
    """Its slots had gone to another node; three questions went out 8 ms after that was known."""
    links = PrimaryLinks(
        cast("Login", None),
        clock=SYSTEM_CLOCK,
        events=Events(),
        deadline=0.05,
        verification=cast("Verification", handshake),
        on_push=lambda _: None,
        heard_majority_since=lambda _: True,
        on_up=lambda _: None,
        on_trouble=lambda: None,
    )
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
