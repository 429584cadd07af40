"""Calls by httpx that keep to a limit, and to what hosts ask for."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace

import httpx
import pytest

from aragora_redis.errors import (
    CircuitOpenError,
    InvalidInputError,
    LimitExceededError,
    LimitUnavailableError,
    UnknownPolicyError,
)
from aragora_redis.testing import FakeClock, memory_state, outage
from aragora_redis.testing.sync import memory_state as memory_state_of_threads
from aragora_redis.web.httpx import CircuitTransport, LimitTransport, SyncLimitTransport, limit
from aragora_redis.web.httpx.pauses import LONGEST, Pauses, wanted

NOW = 1_800_000_000.0
POLICIES = """
[limits.partner]
rate = "1 per second"
burst = 2
on_outage = "fail-closed"
[circuits.default]
minimum_calls = 1
reporters = 1
"""


class Upstream:
    """Answers as it is told to, and counts."""

    def __init__(self):
        self.asked = 0
        self.answer = httpx.Response(200)
        self.transport = httpx.MockTransport(self._handle)

    def _handle(self, _):
        self.asked += 1
        return self.answer


@pytest.fixture
def upstream():
    return Upstream()


@pytest.fixture
def clock(monkeypatch):
    """Stands still but for the transports' sleep."""
    clock = FakeClock(NOW)

    async def asleep(seconds):
        clock.advance(seconds)

    monkeypatch.setattr(limit, "asyncio", SimpleNamespace(sleep=asleep))
    monkeypatch.setattr(limit, "time", SimpleNamespace(sleep=clock.advance))
    return clock


def client_of(state, upstream, clock, **options):
    limited = LimitTransport(
        state.rate_limits, "partner", transport=upstream.transport, clock=clock, **options
    )
    return httpx.AsyncClient(transport=limited, base_url="https://api.example.org")


async def test_a_call_over_the_limit_is_not_made(upstream, clock):
    state = memory_state(POLICIES, clock=clock)
    async with client_of(state, upstream, clock) as client:
        for _ in range(2):
            assert (await client.get("/")).status_code == 200
        with pytest.raises(LimitExceededError) as refused:
            await client.get("/")
        assert (refused.value.limit, refused.value.retry_after) == ("partner", 1.0)
        assert upstream.asked == 2
        await client.get("https://other.example.org/")  # each host by itself
        clock.advance(1)
        await client.get("/")


async def test_a_call_waits_for_its_tokens(upstream):
    state = memory_state('[limits.partner]\nrate = "50 per second"\nburst = 1\n')
    limited = LimitTransport(state.rate_limits, "partner", wait=5, transport=upstream.transport)
    async with httpx.AsyncClient(transport=limited) as client:
        began = time.monotonic()
        await asyncio.gather(*(client.get("https://api.example.org/") for _ in range(4)))
        assert time.monotonic() - began >= 3 / 50
    assert upstream.asked == 4


@pytest.mark.parametrize("status", [429, 503])
async def test_a_host_that_wants_to_be_left_alone_is(upstream, clock, status):
    state = memory_state(POLICIES, clock=clock)
    async with client_of(state, upstream, clock) as client:
        upstream.answer = httpx.Response(status, headers={"Retry-After": "30"})
        assert (await client.get("/")).status_code == status
        upstream.answer = httpx.Response(200)
        with pytest.raises(LimitExceededError) as refused:
            await client.get("/")
        assert refused.value.retry_after == 30
        assert upstream.asked == 1
        assert (await client.get("https://other.example.org/")).status_code == 200
        clock.advance(30)
        assert (await client.get("/")).status_code == 200


async def test_a_call_waits_for_a_host_as_it_waits_for_tokens(upstream, clock):
    state = memory_state(POLICIES, clock=clock)
    async with client_of(state, upstream, clock, wait=10) as client:
        upstream.answer = httpx.Response(429, headers={"Retry-After": "7"})
        await client.get("/")
        before = clock.monotonic()
        await client.get("/")
        assert clock.monotonic() - before == 7
        clock.advance(7)
        upstream.answer = httpx.Response(429, headers={"Retry-After": "11"})
        await client.get("/")
        with pytest.raises(LimitExceededError):
            await client.get("/")


async def test_what_a_host_said_meanwhile_holds_for_those_who_have_waited(
    upstream, clock, monkeypatch
):
    state = memory_state(POLICIES, clock=clock)
    async with client_of(state, upstream, clock) as client:
        acquire = state.rate_limits.acquire

        async def told_meanwhile(*args, **named):
            monkeypatch.undo()
            upstream.answer = httpx.Response(429, headers={"Retry-After": "9"})
            await client.get("/")
            return await acquire(*args, **named)

        monkeypatch.setattr(state.rate_limits, "acquire", told_meanwhile)
        with pytest.raises(LimitExceededError):
            await client.get("/")
        assert upstream.asked == 1


async def test_in_an_outage_the_policy_decides(upstream, clock):
    state = memory_state(POLICIES, clock=clock)
    async with client_of(state, upstream, clock) as client:
        async with outage(state):
            with pytest.raises(LimitUnavailableError):
                await client.get("/")
        assert upstream.asked == 0


async def test_a_limit_goes_around_a_circuit(upstream, clock):
    async with memory_state(POLICIES, clock=clock) as state:
        spared = CircuitTransport(state.circuits, transport=upstream.transport)
        limited = LimitTransport(state.rate_limits, "partner", transport=spared, clock=clock)
        async with httpx.AsyncClient(transport=limited) as client:
            upstream.answer = httpx.Response(500)
            await client.get("https://api.example.org/")
            await state.circuits["api.example.org"].report_evidence()
            with pytest.raises(CircuitOpenError):
                await client.get("https://api.example.org/")
    assert upstream.asked == 1


def test_the_same_for_threads(upstream, clock):
    state = memory_state_of_threads(POLICIES, clock=clock)
    try:
        limited = SyncLimitTransport(
            state.rate_limits, "partner", wait=5, transport=upstream.transport, clock=clock
        )
        with httpx.Client(transport=limited, base_url="https://api.example.org") as client:
            upstream.answer = httpx.Response(503, headers={"Retry-After": "3"})
            client.get("/")
            upstream.answer = httpx.Response(429, headers={"Retry-After": "6"})
            before = clock.monotonic()
            client.get("/")
            assert clock.monotonic() - before == 3
            with pytest.raises(LimitExceededError):
                client.get("/")
        assert upstream.asked == 2
    finally:
        state.close()


def test_what_cannot_be_is_refused_at_once():
    state = memory_state(POLICIES)
    with pytest.raises(UnknownPolicyError):
        LimitTransport(state.rate_limits, "nobody")
    with pytest.raises(InvalidInputError):
        LimitTransport(state.rate_limits, "partner", wait=-1)


async def test_a_request_without_a_host_counts_for_nobody(upstream, clock):
    state = memory_state(POLICIES, clock=clock)
    limited = LimitTransport(state.rate_limits, "partner", transport=upstream.transport)
    for _ in range(3):
        await limited.handle_async_request(httpx.Request("GET", "/orders"))
    assert upstream.asked == 3


def test_nor_does_it_in_a_thread(upstream, clock):
    with memory_state_of_threads(POLICIES, clock=clock) as state:
        limited = SyncLimitTransport(state.rate_limits, "partner", transport=upstream.transport)
        for _ in range(3):
            limited.handle_request(httpx.Request("GET", "/orders"))
    assert upstream.asked == 3


def date(seconds):
    return format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("status", "said", "seconds"),
    [
        (429, "120", 120),
        (503, " 120 ", 120),
        (200, "120", 0),
        (500, "120", 0),
        (429, "", 0),
        (429, "0", 0),
        (429, "-5", 0),
        (429, "1.5", 0),
        (429, "soon", 0),
        (429, "١٢", 0),
        (429, "9" * 5000, LONGEST),
        (429, date(90), 90),
        (429, date(-90), 0),
        (429, date(1e9), LONGEST),
        (429, "Fri, 31 Dec 99999 23:59:59 GMT", 0),
    ],
    ids=[
        "seconds", "spaces", "ok", "error", "empty", "zero", "negative", "fraction", "word",
        "digits", "huge", "date", "past", "far", "no date",
    ],
)  # fmt: skip
def test_how_long_a_host_wants_to_be_left_alone(status, said, seconds):
    headers = [(b"Retry-After", said.encode())]
    assert wanted(httpx.Response(status, headers=headers), NOW) == seconds


def test_no_more_is_kept_than_some_hosts_and_a_shorter_wish_takes_nothing_back():
    clock = FakeClock(NOW)
    pauses = Pauses(clock)

    def said(subject, seconds):
        pauses.take_note(subject, httpx.Response(429, headers={"Retry-After": str(seconds)}))

    said("a", 60)
    said("a", 10)
    assert pauses.left("a") == 60
    for index in range(1500):
        said(f"host-{index}", 100 + index)
    assert len(pauses._until) == 1000
    assert (pauses.left("a"), pauses.left("host-0"), pauses.left("host-1499")) == (0, 0, 1599)
    clock.advance(2000)
    said("b", 1)
    assert list(pauses._until) == ["b"]
