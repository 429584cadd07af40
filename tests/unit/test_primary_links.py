"""The lanes to a primary that is replaced while they connect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK, ServerTime
from aragora_redis.events import GIVEN_UP, Event, Events, LinkLost
from aragora_redis.link import approach, herd, lane_link
from aragora_redis.link.connection import Login
from aragora_redis.link.primary import PrimaryLinks
from aragora_redis.link.verification import Verification, Verified
from aragora_redis.operation import Lane
from aragora_redis.topology.offers import Offers


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

    monkeypatch.setattr(approach, "connect", connect)
    return Handshake()


def links_of(
    handshake: Handshake | Gate,
    *,
    instances: Callable[[], int] = lambda: 1,
    together: bool = False,
) -> PrimaryLinks:
    return PrimaryLinks(
        cast("Login", None),
        clock=SYSTEM_CLOCK,
        events=Events(),
        deadline=0.05,
        verification=cast("Verification", handshake),
        instances=instances,
        together=together,
        on_push=lambda _: None,
        heard_majority_since=lambda _: True,
        on_up=lambda _: None,
        on_trouble=lambda: None,
    )


class Connected:
    """A connection on which nothing happens."""

    peer = "10.0.0.1"
    writable = True

    def __init__(self) -> None:
        self.closed: str | None = None
        self._on_close: Callable[[str], None] = lambda _reason: None

    def on_close(self, told: Callable[[str], None]) -> None:
        self._on_close = told

    def on_read(self, _told: Callable[[], None]) -> None:
        """Nothing comes."""

    def close(self, reason: str) -> None:
        if self.closed is None:
            self.closed = reason
            self._on_close(reason)


class Gate:
    """Verifies whoever has come by the time it is opened, in one turn of the loop."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.came: asyncio.Queue[None] = asyncio.Queue()
        self.connected: list[Connected] = []

    async def connect(self, *_: Any, on_dial: Callable[[str], None], **__: Any) -> Connected:
        on_dial(Connected.peer)
        self.connected.append(Connected())
        return self.connected[-1]

    async def run(self, *_: Any, on_unheard: Callable[[], None] | None, **__: Any) -> Verified:
        self.came.put_nowait(None)
        if on_unheard is not None:
            on_unheard()
        await self.opened.wait()
        return Verified(ServerTime(0.0, 0), guarded=False, offers=Offers())


@pytest.fixture
def gate(monkeypatch):
    made = Gate()
    monkeypatch.setattr(approach, "connect", made.connect)
    return made


MANY = herd.AT_ONCE + 60
"""Instances that come back over a quarter of a second."""
TURNS = range(5)
"""Of the loop, from the answer on which a connection is verified."""


async def opened(gate: Gate, links: PrimaryLinks, turns: int) -> list[Connected]:
    """Those that were verified so many turns ago; whoever comes now waits."""
    links.aim(Address("127.0.0.1", 1))
    async with asyncio.timeout(5):
        for _ in links.lanes:
            await gate.came.get()
    gate.opened.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    gate.opened = asyncio.Event()
    return [*gate.connected]


async def linked(gate: Gate, links: PrimaryLinks) -> None:
    """Have all lanes verified and used; whoever comes later is verified at once."""
    gate.opened.set()
    links.aim(Address("127.0.0.1", 1))
    async with asyncio.timeout(5):
        for _ in links.lanes:
            await gate.came.get()
    await asyncio.sleep(0)


async def test_the_fast_lane_tells_that_replicas_are_waited_for(gate):
    links = links_of(gate)
    links.aim(Address("127.0.0.1", 1))
    async with asyncio.timeout(5):
        for _ in links.lanes:
            await gate.came.get()
    told = {lane for lane, mux in links.lanes.items() if mux.down == lane_link.UNHEARD}
    assert told == {Lane.FAST}
    await links.close()


async def test_a_connection_that_is_in_use_is_not_given_up_to_wait_for_replicas(gate):
    links = links_of(gate)
    await linked(gate, links)
    gate.opened = asyncio.Event()
    links.renew()
    async with asyncio.timeout(5):
        for _ in links.lanes:
            await gate.came.get()
    assert all(mux.down is None for mux in links.lanes.values())
    await links.close()


@pytest.mark.parametrize("turns", TURNS)
async def test_no_connection_is_left_of_a_primary_that_is_replaced(gate, turns):
    links = links_of(gate)
    old = await opened(gate, links, turns)
    links.aim(Address("127.0.0.1", 2))
    await links.close()
    await asyncio.sleep(0)
    assert all(each.closed for each in old)


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("how", ["drop", "leave"])
async def test_what_was_verified_before_a_loss_is_not_used_after_it(gate, turns, how):
    links = links_of(gate, together=True)
    old = await opened(gate, links, turns)
    if how == "drop":
        links.drop("a lane was lost")
    else:
        links.leave(["10.0.0.2"], "the name leads elsewhere")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(mux.connected for mux in links.lanes.values())
    assert all(each.closed for each in old)
    await links.close()


async def test_each_of_many_comes_to_another_primary_in_its_turn(handshake, dialed, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    links = links_of(handshake, instances=lambda: MANY)
    began = SYSTEM_CLOCK.monotonic()
    links.aim(Address("127.0.0.1", 1))
    await asyncio.sleep(0)
    links.hurry()  # shortens pauses, and not the turn
    async with asyncio.timeout(5):
        for _ in links.lanes:
            await handshake.began.get()
    assert min(dialed) - began >= herd.spread(MANY)
    await links.close()


async def test_lanes_that_are_lost_one_by_one_come_back_in_turn(gate, monkeypatch):
    """As those of a server that is killed; nobody was counted when it was aimed at."""
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    monkeypatch.setattr(lane_link, "STABLE_AFTER", 0.0)
    known = [0]
    links = links_of(gate, instances=lambda: known[0])
    await linked(gate, links)
    assert all(mux.connected for mux in links.lanes.values())
    known[0] = MANY
    began = SYSTEM_CLOCK.monotonic()
    for each in [*gate.connected]:
        each.close("closed by the server")
        await asyncio.sleep(0.001)
    async with asyncio.timeout(5):
        await gate.came.get()
    assert SYSTEM_CLOCK.monotonic() - began >= herd.spread(MANY)
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


async def test_a_link_that_was_lost_before_is_given_up_with_the_others(gate):
    """Or whoever counts links would miss it for good: its node has left the cluster."""
    told: list[tuple[str, str]] = []
    links = links_of(gate)

    def hear(event: Event) -> None:
        assert isinstance(event, LinkLost)
        told.append((event.lane, event.reason))

    links._events.subscribe(hear, to=(LinkLost,))
    await linked(gate, links)
    gate.opened = asyncio.Event()
    gate.connected[0].close("closed by the server")
    await links.close()
    assert told[0][1] == "closed by the server"
    assert sorted(told[1:]) == sorted((lane.value, GIVEN_UP) for lane in links.lanes)


async def test_a_clean_close_behind_one_name_loses_no_lane(gate):
    """All are given up, and none is lost for another's sake."""
    told: list[str] = []
    links = links_of(gate, together=True)

    def hear(event: Event) -> None:
        assert isinstance(event, LinkLost)
        told.append(event.reason)

    links._events.subscribe(hear, to=(LinkLost,))
    await linked(gate, links)
    await links.close()
    assert told == [GIVEN_UP] * len(links.lanes)


async def test_each_of_many_renews_in_a_moment_of_its_own(gate, monkeypatch):
    """Announced work would have all of a fleet verify three connections at once."""
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    known = [0]
    links = links_of(gate, instances=lambda: known[0])
    await linked(gate, links)
    known[0] = MANY
    began = SYSTEM_CLOCK.monotonic()
    links.renew()
    async with asyncio.timeout(5):
        await gate.came.get()
    assert SYSTEM_CLOCK.monotonic() - began >= herd.spread(MANY)
    await links.close()
