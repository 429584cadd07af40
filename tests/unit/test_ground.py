"""Addresses, time, events and errors."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.address import Address
from aragora_redis.clock import ServerTime, full_jitter
from aragora_redis.errors import InvalidInputError, OutcomeUnknownError, Ran, RefusedError
from aragora_redis.events import Degraded, Event, Events, Recovered


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("redis-0", Address("redis-0", 6379)),
        ("redis-0:1", Address("redis-0", 1)),
        (" 127.0.0.1:6380 ", Address("127.0.0.1", 6380)),
        ("[::1]", Address("::1", 6379)),
        ("[::1]:7", Address("::1", 7)),
        ("::1", Address("::1", 6379)),
    ],
)
def test_addresses_are_read(text, address):
    assert Address.parse(text, default_port=6379) == address
    assert Address.parse(str(address), default_port=1) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "h:",
        "h:0",
        "h:65536",
        "h:x",
        "h:²",
        "h:" + "1" * 5000,
        "h:1:2",
        "::]",
        ":]:0",
        "[h]x:1",
        "[a:b]",
        "[::1",
        "[::1]x",
        "a b",
        "u@h:1",
        "h/1",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidInputError):
        Address.parse(text, default_port=6379)


@given(st.text())
def test_garbage_is_an_address_or_a_typed_error(text):
    try:
        Address.parse(text, default_port=6379)
    except InvalidInputError:
        return


def test_server_time_is_carried_on():
    assert ServerTime(10.0, 5_000_000).at(10.25) == 5_250_000


def test_jitter_keeps_its_bounds():
    for attempt in (0, 3, 1000):
        assert (
            0 <= full_jitter(attempt, base=0.02, cap=1.0) <= min(1.0, 0.02 * 2 ** min(attempt, 9))
        )


def test_a_listener_that_fails_stops_nobody(caplog):
    events = Events()
    heard: list[Event] = []

    def broken(_event):
        raise RuntimeError

    events.subscribe(broken)
    end = events.subscribe(heard.append)
    with caplog.at_level(logging.ERROR):
        events.emit(Degraded("x"))
    assert heard == [Degraded("x")]
    assert "Degraded" in caplog.text
    end()
    events.emit(Degraded("y"))
    assert len(heard) == 1


def test_a_listener_hears_the_kinds_that_it_listens_to():
    events = Events()
    events.emit(Degraded("before anybody listens"))
    some: list[Event] = []
    every: list[Event] = []
    end = events.subscribe(some.append, to=(Recovered,))
    events.emit(Degraded("x"))
    events.subscribe(every.append)
    events.emit(Degraded("y"))
    events.emit(Recovered(1.0))
    assert some == [Recovered(1.0)]
    assert every == [Degraded("y"), Recovered(1.0)]
    for _ in range(2):
        end()
    events.emit(Recovered(2.0))
    assert some == [Recovered(1.0)]
    assert every[-1] == Recovered(2.0)


def test_errors_say_whether_it_ran_and_what_to_do():
    assert OutcomeUnknownError("gone").ran is Ran.UNKNOWN
    refused = RefusedError("OOM", "Redis refused", remedy="free memory")
    assert refused.ran is Ran.NO
    assert str(refused) == "Redis refused (free memory)"
