"""The beat on a real server, and a clock that went back."""

from __future__ import annotations

import asyncio
import random
import secrets

import pytest
from msgspec.structs import replace

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import RefusedError
from aragora_redis.rate_limit.share import FleetSize
from aragora_redis.state.presence import Presence, presence_keys


async def test_who_died_before_the_clock_went_back_is_missed_like_anybody(on_server):
    """The fleet of an hour ahead: one lives and beats again, the other died with the node."""
    prefix = f"test-{secrets.token_hex(8)}"
    keys = presence_keys(prefix)
    beats, rows = keys.beats, keys.rows
    for boot in ("living", "dead"):
        on_server.client.zadd(beats, {boot: int(on_server.now() * 1000) + 3_600_000})
        on_server.client.hset(rows, boot, f"eras-of-{boot} hash 0 0 0 f {boot}")
    presence = Presence(
        on_server,
        SYSTEM_CLOCK,
        prefix=prefix,
        row_id="me",
        policies=lambda: "hash",
        row=lambda: "0 0 0 f me",
        eras=lambda: "eras",
        fleet=FleetSize(),
        on_beat=lambda _: None,
    )
    beat = presence._operation("eras")
    there = (await on_server.run(beat)).after(())
    assert there == {"dead", "living", "me"}, "nobody is dropped at once"
    short = replace(beat, args=(*beat.args[:3], 50, *beat.args[4:]))
    async with asyncio.timeout(5):
        while (await on_server.run(short)).after(()) != {"living", "me"}:
            on_server.client.zadd(beats, {"living": int(on_server.now() * 1000)})
            await asyncio.sleep(0.01)


class Fleet:
    """Instances that beat on one server."""

    def __init__(self, on_server):
        self.on_server = on_server
        self.prefix = f"test-{secrets.token_hex(8)}"
        self.keys = presence_keys(self.prefix)
        self.known: dict[str, tuple[bytes, frozenset[str]]] = {}

    async def beat(
        self, boot: str, eras: str = "eras", policies: str = "hash", expiry=6000, *, ends=False
    ):
        version, ids = self.known.get(boot, (b"", frozenset()))
        presence = Presence(
            self.on_server,
            SYSTEM_CLOCK,
            prefix=self.prefix,
            row_id=boot,
            policies=lambda: policies,
            row=lambda: f"0 0 0 f {boot}",
            eras=lambda: eras,
            fleet=FleetSize(),
            on_beat=lambda _: None,
        )
        beat = presence._operation(eras, ends=ends)
        beat = replace(beat, args=(*beat.args[:3], expiry, version, policies))
        pulse = await self.on_server.run(beat)
        self.known[boot] = pulse.version, pulse.after(ids)
        return pulse

    def there(self, boot: str) -> set[str]:
        return set(self.known[boot][1])

    def age(self, *boots: str) -> None:
        long_ago = int(self.on_server.now() * 1000) - 60_000
        self.on_server.client.zadd(self.keys.beats, dict.fromkeys(boots, long_ago), xx=True)

    def rows(self) -> list[list[str]]:
        return [row.decode().split() for row in self.on_server.client.hvals(self.keys.rows)]


@pytest.fixture
def fleet(on_server):
    return Fleet(on_server)


async def test_a_beat_costs_the_same_however_many_there_are(fleet, on_server):
    """With a thousand instances five hundred a second, each reading all rows, took half a core."""
    for number in range(50):
        await fleet.beat(f"boot-{number}")

    def read() -> list[int]:
        told = on_server.client.info("commandstats")
        return [int(told[f"cmdstat_{name}"]["calls"]) for name in ("hvals", "zrange")]

    await fleet.beat("boot-1")
    before = read()
    for number in range(50):
        pulse = await fleet.beat(f"boot-{number}", eras="later")
        assert (pulse.instances, pulse.agreed, pulse.alike) == (50, number + 1, 50)
    assert read() == before
    assert fleet.there("boot-7") == {f"boot-{number}" for number in range(50)}


async def test_only_changes_are_told_to_who_knows_the_others(fleet):
    for boot in "abc":
        await fleet.beat(boot)
    assert (await fleet.beat("a")).changes == ("+b", "+c")
    assert (await fleet.beat("a")).changes == ()
    fleet.age("b")
    await fleet.beat("c")
    await fleet.beat("d")
    pulse = await fleet.beat("a")
    assert (pulse.changes, pulse.whole) == (("-b", "+d"), False)
    assert fleet.there("a") == {"a", "c", "d"}
    await fleet.beat("b")
    await fleet.beat("a")
    assert fleet.there("a") == {"a", "b", "c", "d"}, "who went and came again is there"


@pytest.mark.parametrize("version", [b"1", b"1999999999999999", b"none"], ids=str)
async def test_who_knows_a_list_of_another_history_is_told_all(fleet, version):
    for boot in "abc":
        await fleet.beat(boot)
    fleet.known["a"] = version, frozenset({"lost", "b"})
    assert (await fleet.beat("a")).whole
    assert fleet.there("a") == {"a", "b", "c"}


async def test_changes_before_a_clock_went_back_are_told_as_all(fleet, on_server):
    for boot in "abc":
        await fleet.beat(boot)
    ahead = b"%d" % int((on_server.now() + 3600) * 1e6)
    on_server.client.set(fleet.keys.version, ahead)
    on_server.client.zadd(fleet.keys.changes, {"+c": int(ahead)})
    fleet.known["a"] = ahead, frozenset("abc")
    fleet.age("b")
    await fleet.beat("c")
    assert (await fleet.beat("a")).whole
    assert fleet.there("a") == {"a", "c"}


async def test_what_is_counted_is_what_the_rows_say(fleet, on_server):
    """However instances come, change their minds, and go; also where somebody has written a row."""
    chance = random.Random(1)
    for turn in range(300):
        boot, eras = f"boot-{chance.randrange(12)}", chance.choice(("x", "y", "-"))
        policies, ends = chance.choice(("x", "y")), chance.random() < 0.1
        if chance.random() < 0.2:
            fleet.age(f"boot-{chance.randrange(12)}")
        if turn == 150:
            on_server.client.hset(fleet.keys.rows, "by hand", "x y 0 0 0 f hand")
        if turn == 200:
            on_server.client.delete(fleet.keys.tally)
        pulse = await fleet.beat(boot, eras, policies, ends=ends)
        rows = fleet.rows()
        assert pulse.instances == len(rows)
        assert pulse.agreed == sum(row[0] in {eras, "-"} for row in rows)
        assert pulse.alike == sum(row[1] == policies for row in rows)
        there = {name.decode() for name in on_server.client.zrange(fleet.keys.beats, 0, -1)}
        assert fleet.there(boot) == there


async def test_who_knows_nothing_agrees_with_all_and_learns_nothing_by_it(fleet):
    """One that loads, or ends each time it does, keeps no other starter waiting."""
    await fleet.beat("starting", eras="-")
    assert (await fleet.beat("a")).agreed == 2
    pulse = await fleet.beat("starting", eras="-")
    assert (pulse.instances, pulse.agreed) == (2, 1)
    await fleet.beat("starting", eras="others")
    assert (await fleet.beat("a")).agreed == 1


async def test_who_ends_is_gone_at_once_and_may_come_again(fleet):
    for boot in "abc":
        await fleet.beat(boot)
    await fleet.beat("a")
    assert (await fleet.beat("b", ends=True)).instances == 2
    pulse = await fleet.beat("a")
    assert (pulse.changes, pulse.whole) == (("-b",), False)
    assert (pulse.instances, pulse.agreed, pulse.alike) == (2, 2, 2)
    await fleet.beat("b", ends=True)
    assert (await fleet.beat("a")).changes == (), "who is not there cannot go"
    await fleet.beat("b")
    assert (await fleet.beat("a")).changes == ("+b",)


async def test_counts_that_are_wrong_are_made_anew(fleet, on_server):
    for boot in "abc":
        await fleet.beat(boot)
    on_server.client.hincrby(fleet.keys.tally, "e eras", 5)
    on_server.client.hincrby(fleet.keys.tally, "at", -61_000)
    assert (await fleet.beat("a")).agreed == 3


@pytest.mark.parametrize("key", ["beats", "rows"])
async def test_one_key_that_was_lost_alone_keeps_no_starter_waiting(fleet, on_server, key):
    """An eviction, or a hand: a row of one who has gone would be there for good, and not agree."""
    for boot in ("gone", "living"):
        await fleet.beat(boot, eras="old")
    on_server.client.delete(getattr(fleet.keys, key))
    pulse = await fleet.beat("living")
    assert pulse.agreed == 1
    assert pulse.instances == 2, "it may live"
    fleet.age("gone")
    pulse = await fleet.beat("living")
    assert (pulse.instances, pulse.agreed, pulse.alike) == (1, 1, 1)


async def test_memory_that_is_full_is_told_and_lets_the_fleet_live(own_server):
    fleet = Fleet(own_server)
    await fleet.beat("first")
    own_server.client.config_set("maxmemory", 1)
    pulse = await fleet.beat("second")
    assert isinstance(pulse.full, RefusedError)
    assert pulse.full.code == "OOM"
    assert (pulse.instances, pulse.agreed, pulse.alike) == (2, 2, 2)
    assert fleet.there("second") == {"first", "second"}
    assert (await fleet.beat("first", ends=True)).instances == 1
    own_server.client.config_set("maxmemory", 0)
    assert (await fleet.beat("second")).full is None
