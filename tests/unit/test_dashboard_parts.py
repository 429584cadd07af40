"""The dashboard's parts: markup, logins, throttle, streams, and an outage as it unfolds."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import (
    GIVEN_UP,
    Degraded,
    EraChanged,
    Events,
    LinkLost,
    LinkUp,
    Recovered,
    SwitchAnnounced,
    ViewChanged,
)
from aragora_redis.gateway.auth import Role
from aragora_redis.gateway.dashboard.desk import Action, Verb
from aragora_redis.gateway.dashboard.journal import KEPT, Journal
from aragora_redis.gateway.dashboard.logins import LIFETIME, Logins
from aragora_redis.gateway.dashboard.markup import tag
from aragora_redis.gateway.dashboard.phases import phases_of
from aragora_redis.gateway.dashboard.rates import Rates
from aragora_redis.gateway.dashboard.stream import Places, follow
from aragora_redis.gateway.dashboard.throttle import AT_ONCE, CLIENTS, EVERY, Throttle
from aragora_redis.gateway.dashboard.timeline import Instant, Timeline, Timelines
from aragora_redis.gateway.dashboard.wording import on_disk
from aragora_redis.settings import GatewaySettings, Secret
from aragora_redis.state.status import OnDisk
from aragora_redis.telemetry.words import Told
from aragora_redis.testing import FakeClock

OLD, NEW = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)
SETTINGS = GatewaySettings(
    gateway_tokens=(Secret("gateway-token-0001"),), admin_tokens=(Secret("admin-token-000001"),)
)


def test_what_comes_from_outside_is_never_markup():
    hostile = '<img src=x onerror="alert(1)">'
    made = tag("p", hostile, tag("b", hostile), title=hostile)
    assert made.count("<") == 4
    assert hostile not in made


def test_a_login_is_good_for_eight_hours_and_for_its_token():
    clock = FakeClock()
    logins = Logins(SETTINGS, clock)
    cookie = logins.log_in("admin-token-000001")
    login = logins.read(cookie)
    assert login is not None
    assert (login.role, login.admits(login.csrf), login.admits("")) == (Role.ADMIN, True, False)
    assert Logins(SETTINGS, clock).read(cookie) == login, "another gateway of the same tokens"
    other = GatewaySettings(admin_tokens=(Secret("another-token-0001"),))
    assert Logins(other, clock).read(cookie) is None, "the token was taken out"
    clock.advance(LIFETIME)
    assert logins.read(cookie) is None


def test_the_gateway_token_only_looks():
    logins = Logins(SETTINGS, FakeClock())
    login = logins.read(logins.log_in("gateway-token-0001"))
    assert login is not None
    assert login.role is Role.GATEWAY
    assert logins.log_in("wrong") is None
    with pytest.raises(PermissionError):
        logins.let_in()


def test_no_letter_of_a_cookie_may_be_changed():
    logins = Logins(SETTINGS, FakeClock())
    cookie = logins.log_in("gateway-token-0001") or ""
    for at in range(len(cookie)):
        changed = cookie[:at] + ("0" if cookie[at] != "0" else "1") + cookie[at + 1 :]
        assert logins.read(changed) is None


def test_failures_are_forgiven_with_time_and_memory_is_bounded():
    clock = FakeClock()
    throttle = Throttle(clock)
    for _ in range(AT_ONCE):
        assert throttle.wait("a") == 0
        throttle.failed("a")
    assert 0 < throttle.wait("a") <= EVERY
    assert throttle.wait("b") == 0
    clock.advance(EVERY)
    assert throttle.wait("a") == 0
    for number in range(CLIENTS + 10):
        throttle.failed(str(number))
    assert len(throttle) == CLIENTS


def test_a_customer_of_ipv6_fails_as_one():
    throttle = Throttle(FakeClock())
    for host in range(AT_ONCE):
        assert throttle.wait(f"2001:db8::{host}") == 0
        throttle.failed(f"2001:db8::{host}")
    assert throttle.wait("2001:db8::ffff") > 0
    assert throttle.wait("2001:db8:0:1::1") == 0


@pytest.mark.parametrize("text", ["", "kill", "kill ", "explode redis-0", "KILL redis-0"])
def test_no_action_is_made_up(text):
    assert Action.parse(text) is None
    assert Action.parse("freeze redis-0") == Action(Verb.FREEZE, "redis-0")


def test_the_journal_keeps_the_last_lines_and_gathers_bursts():
    journal = Journal(FakeClock())
    for number in range(KEPT + 5):
        journal.note(Told(logging.INFO, str(number)))
    for shard in range(16):
        journal.see(EraChanged(shard, 2, 1, 0))
    assert len(journal.entries) == KEPT
    assert journal.entries[0].text.startswith("the data of 16 token shards")
    assert journal.entries[1].text == str(KEPT + 4)


def test_the_outbox_on_disk_is_one_line():
    well = OnDisk(entries=1, size=1536, waiting=0, delay=0.0, trouble=None)
    assert on_disk(None) == "none"
    assert on_disk(well) == "1 revocation, 1.5 KiB"
    hung = replace(well, waiting=3, delay=75.0, trouble="hung")
    assert on_disk(hung) == "disk hangs, 3 wait since 1 min 15 s (1 revocation, 1.5 KiB)"
    unread = "files of ended instances not taken in (1 revocation, 1.5 KiB)"
    assert on_disk(replace(well, trouble="unread")) == unread


def test_rates_are_those_of_the_last_minute():
    rates = Rates()
    for second in range(3):
        rates.count("redis", allowed=second != 1, now=100.5 + second)
    (rate,) = rates.last_minute(103.0)
    assert (rate.allowed[-3:], rate.refused[-3:]) == ((1, 0, 1), (0, 1, 0))
    (rate,) = rates.last_minute(400.0)
    assert sum(rate.allowed) + sum(rate.refused) == 0


def test_a_failover_is_told_step_by_step():
    timeline = Timeline()

    def see(event, at):
        timeline.see(event, Instant(at, 1_000.0 + at))

    see(ViewChanged(None, OLD, 1), 0)
    see(LinkUp(str(OLD), "fast", 0.0), 0)
    assert (timeline.ongoing, timeline.over) == ((), ())
    see(LinkLost(str(OLD), "fast", "closed by the server"), 10)
    see(LinkLost(str(OLD), "bulk", "closed by the server"), 10)
    see(Degraded("no link"), 10)
    (ongoing,) = timeline.ongoing
    assert (ongoing.lost, ongoing.lasted(11.5)) == (str(OLD), 1.5)
    see(SwitchAnnounced(OLD), 12)
    see(ViewChanged(OLD, NEW, 2), 12)
    see(LinkUp(str(NEW), "fast", 2.0), 12.1)
    (ongoing,) = timeline.ongoing
    assert ongoing.linked_after is not None, "not back before writes are taken"
    see(Recovered(2.5), 12.5)
    (last,) = timeline.over
    assert (last.chosen, last.chosen_after, last.epoch) == (str(NEW), 2, 2)
    assert (last.back, last.back_after) == (str(NEW), 2.5)
    found = [(each.name, each.began, each.ended) for each in phases_of(last, elects=True)]
    assert found == [
        ("election", 0, 2),
        ("agreement", 2, 2),
        ("connection", 2, pytest.approx(2.1)),
        ("first-write", pytest.approx(2.1), 2.5),
    ]
    (reign,) = timeline.reigns.values()
    assert (reign.address, reign.since) == (str(NEW), 1012)


def test_to_begin_is_no_interruption():
    timeline = Timeline()
    timeline.see(Degraded("not connected yet"), Instant(0, 0))
    assert [it.lost for it in timeline.ongoing] == [""]
    timeline.see(ViewChanged(None, OLD, 1), Instant(1, 1))
    timeline.see(LinkUp(str(OLD), "fast", 0.0), Instant(1, 1))
    timeline.see(Recovered(1.0), Instant(1, 1))
    assert (timeline.ongoing, timeline.over) == ((), ())
    timeline.see(LinkLost(str(OLD), "fast", "closed by the server"), Instant(2, 2))
    timeline.see(LinkUp(str(OLD), "fast", 1.0), Instant(3, 3))
    assert [it.back for it in timeline.over] == [str(OLD)]


def test_a_planned_switchover_is_an_interruption_too():
    timeline = Timeline()
    for event, at in (
        (ViewChanged(None, OLD, 1), 0),
        (LinkUp(str(OLD), "fast", 0.0), 0),
        (ViewChanged(OLD, NEW, 2), 5),
        (LinkLost(str(OLD), "fast", "the primary has changed"), 5),
        (LinkUp(str(NEW), "fast", 0.1), 5.1),
    ):
        timeline.see(event, Instant(at, 1_000.0 + at))
    (last,) = timeline.over
    assert (last.lost, last.chosen, last.back) == (str(OLD), str(NEW), str(NEW))
    assert not last.refused
    assert last.back_after == pytest.approx(0.1)


def test_in_a_cluster_each_shard_has_its_own_outage():
    timeline = Timeline(several=True)
    one, other, heir = (Address("127.0.0.1", port) for port in (7000, 7001, 7003))

    def see(event, at):
        timeline.see(event, Instant(at, 1_000.0 + at))

    for address in (one, other):
        see(ViewChanged(None, address, 1), 0)
        see(LinkUp(str(address), "fast", 0.0), 0)
    see(LinkLost(str(one), "fast", "closed by the server"), 10)
    see(Degraded("no link"), 10)
    see(LinkLost(str(other), "fast", "closed by the server"), 11)
    assert [it.lost for it in timeline.ongoing] == [str(one), str(other)]
    see(ViewChanged(one, heir, 4), 12)
    see(LinkUp(str(heir), "fast", 2.0), 12.5)
    assert [it.lost for it in timeline.ongoing] == [str(other)], "the first one is written again"
    see(LinkUp(str(other), "fast", 2.0), 13)
    assert timeline.ongoing, "not back before writes are taken"
    see(Recovered(3.2), 13.2)
    assert timeline.ongoing == ()
    assert [(it.lost, it.back, it.back_after) for it in timeline.over] == [
        (str(other), str(other), pytest.approx(2.2)),
        (str(one), str(heir), 2.5),
    ]
    assert set(timeline.reigns) == {str(other), str(heir)}
    see(LinkLost(str(other), "fast", GIVEN_UP), 20)
    assert timeline.ongoing == (), "who gave its slots away is missed by nobody"
    assert set(timeline.reigns) == {str(heir)}


def test_in_a_cluster_a_primary_that_is_lost_and_then_given_up_is_missed_by_nobody():
    timeline = Timeline(several=True)
    one, other = (Address("127.0.0.1", port) for port in (7000, 7001))

    def see(event, at):
        timeline.see(event, Instant(at, 1_000.0 + at))

    for address in (one, other):
        see(ViewChanged(None, address, 1), 0)
        see(LinkUp(str(address), "fast", 0.0), 0)
    # Its slots were moved to the other one; it is shut down before its link is closed.
    see(LinkLost(str(one), "fast", "closed by the server"), 10)
    see(LinkLost(str(one), "fast", GIVEN_UP), 11)
    assert (timeline.ongoing, timeline.over) == ((), ())
    assert set(timeline.reigns) == {str(other)}


def test_in_a_cluster_an_outage_lasts_until_the_heir_under_the_same_address_is_linked():
    timeline = Timeline(several=True)

    def see(event, at):
        timeline.see(event, Instant(at, 1_000.0 + at))

    see(ViewChanged(None, OLD, 1), 0)
    see(LinkUp(str(OLD), "fast", 0.0), 0)
    see(LinkLost(str(OLD), "fast", "closed by the server"), 10)
    see(ViewChanged(OLD, OLD, 2), 11)
    see(LinkLost(str(OLD), "fast", GIVEN_UP), 11)  # the link to the node of before
    assert [it.lost for it in timeline.ongoing] == [str(OLD)]
    see(LinkUp(str(OLD), "fast", 1.0), 12)
    assert [(it.back, it.back_after) for it in timeline.over] == [(str(OLD), 2)]


def test_in_a_cluster_a_primary_whose_node_was_never_linked_to_can_be_given_up_later():
    """Nothing was given up as another node took its address."""
    timeline = Timeline(several=True)

    def see(event, at):
        timeline.see(event, Instant(at, 1_000.0 + at))

    see(ViewChanged(None, OLD, 1), 0)
    see(ViewChanged(OLD, OLD, 2), 1)
    see(LinkUp(str(OLD), "fast", 0.0), 2)
    see(LinkLost(str(OLD), "fast", "closed by the server"), 10)
    see(LinkLost(str(OLD), "fast", GIVEN_UP), 11)
    assert timeline.ongoing == ()


def test_each_redis_has_outages_of_its_own():
    tokens, limits = ("tokens", "sessions"), ("limits", "circuits")
    timelines = Timelines({each: Timeline(features=each) for each in (tokens, limits)})
    whole, other = Events(), Address("127.0.0.1", 7001)
    now = [0.0]
    whole.subscribe(lambda event: timelines.see(event, Instant(now[0], 1_000.0 + now[0])))

    def tell(features, at, *events):
        now[0] = at
        for event in events:
            whole.of(features).emit(event)

    tell(tokens, 0, ViewChanged(None, OLD, 1), LinkUp(str(OLD), "fast", 0.0))
    tell(limits, 0, ViewChanged(None, other, 1), LinkUp(str(other), "fast", 0.0))
    tell(limits, 9, LinkLost(str(other), "fast", "closed by the server"), Degraded("no link"))
    tell(tokens, 10, ViewChanged(OLD, NEW, 2))
    tell(tokens, 10, LinkLost(str(OLD), "fast", "the primary has changed"))
    tell(tokens, 10.1, LinkUp(str(NEW), "fast", 0.1))
    assert [(it.features, it.lost) for it in timelines.ongoing] == [(limits, str(other))]
    assert [(it.features, it.lost, it.back) for it in timelines.over] == [
        (tokens, str(OLD), str(NEW))
    ]
    tell(limits, 11, LinkUp(str(other), "fast", 2.0), Recovered(2.0))
    assert [it.features for it in timelines.ongoing] == []
    assert [it.features for it in timelines.over] == [limits, tokens], "the newest first"
    assert {reign.address: reign.features for reign in timelines.reigns} == {
        str(NEW): tokens,
        str(other): limits,
    }


async def test_a_stream_sends_what_has_changed_and_ends_with_the_login():
    shown, welcome, stopping = {"a": "1", "b": "1"}, [True], asyncio.Event()
    stream = follow(
        lambda: dict(shown), welcome=lambda: welcome[0], stopping=stopping, clock=SYSTEM_CLOCK
    )

    async def next_sections():
        said = (await anext(stream)).decode()
        kind, data = said.strip().split("\n")
        return kind, json.loads(data.removeprefix("data: "))

    assert (await anext(stream)).startswith(b"retry:")
    assert await next_sections() == ("event: sections", {"a": "1", "b": "1"})
    shown["b"] = "two\nlines"
    assert await next_sections() == ("event: sections", {"b": "two\nlines"})
    welcome[0] = False
    assert await next_sections() == ("event: ended", None)
    assert [each async for each in stream] == []


async def test_a_stream_ends_when_the_gateway_stops():
    stopping = asyncio.Event()
    stream = follow(dict, welcome=lambda: True, stopping=stopping, clock=SYSTEM_CLOCK)
    await anext(stream)
    stopping.set()
    async with asyncio.timeout(5):
        assert [each async for each in stream] == []


def test_places_for_streams_are_bounded():
    places = Places(3, each=2)
    assert [places.take("ann") for _ in range(3)] == [True, True, False]
    assert [places.take("bob") for _ in range(2)] == [True, False]
    places.leave("ann")
    assert places.take("bob")
