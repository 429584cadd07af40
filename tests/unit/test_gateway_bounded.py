"""Clients that mean harm: what each may send, and who goes when it is full. No network."""

from __future__ import annotations

import asyncio
import re
import resource
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from aragora_redis.events import ClientsTurnedAway, Events
from aragora_redis.gateway import server
from aragora_redis.gateway.bounded import AHEAD, FIELDS, PIECE, BoundedProtocol
from aragora_redis.gateway.crowd import TOLD_EVERY, Crowd
from aragora_redis.settings import HttpLimits, from_env
from aragora_redis.testing import FakeClock

LIMITS = HttpLimits(max_connections=8, max_head=1024, keep_alive=60)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


class Wire(asyncio.Transport):
    def __init__(self, address):
        super().__init__()
        self.address = address
        self.said = b""
        self.closing = self.aborted = self.paused = False

    def write(self, data):
        assert not self.closing
        self.said += data

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def get_extra_info(self, name, default=None):
        return (self.address, 1) if name == "peername" else default

    def close(self):
        self.closing = True

    def abort(self):
        self.closing = self.aborted = True


class Service:
    """An application that answers what it was asked, once it may."""

    def __init__(self, limits=LIMITS):
        self.clock = FakeClock()
        self.told: list[Any] = []
        events = Events()
        events.subscribe(self.told.append)
        self.crowd = Crowd(limits, events, self.clock)
        self.asked = []
        self.may = asyncio.Event()
        self.may.set()
        self.accepts, self.reads, self.listens = False, True, False
        self._config = uvicorn.Config(
            self._app, log_config=None, interface="asgi3", proxy_headers=False
        )
        self._state = ServerState()

    async def _app(self, scope, receive, send):
        if self.accepts:
            scope["state"]["role"] = "any"
        body = b""
        more = self.reads
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        if self.listens:
            while (await receive())["type"] != "http.disconnect":
                pass
            body = b"gone"
        self.asked.append((scope["method"], body))
        await self.may.wait()
        fields = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"ok"})
        self.fields = scope["headers"]

    def connect(self, address="192.0.2.1"):
        client = Client(self, Wire(address))
        client.protocol.connection_made(client.wire)
        return client

    def protocol(self):
        return BoundedProtocol(self._config, self._state, {}, crowd=self.crowd, clock=self.clock)

    def turned_away(self):
        self.clock.advance(TOLD_EVERY)
        self.crowd.sweep()
        return {each.reason: each.connections for each in self.told}


class Client:
    def __init__(self, service, wire):
        self.wire = wire
        self.protocol = service.protocol()

    async def say(self, *pieces):
        for piece in pieces or [b""]:
            if not self.wire.closing:
                self.protocol.data_received(piece)
            for _ in range(8):
                await asyncio.sleep(0)
        return self.statuses

    @property
    def statuses(self):
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.wire.said)]


@pytest.fixture
async def service():
    return Service()


async def test_a_request_is_answered(service):
    client = service.connect()
    assert await client.say(CHUNKED + b"2\r\nab\r\n0\r\n\r\n") == [200]
    assert service.asked == [("POST", b"ab")]
    assert not client.wire.closing


READ_IN_TWO_WAYS = {
    "two lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length twice": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "a length with a sign": POST + b"Content-Length: +4\r\n\r\nabcd",
    "a folded field": POST + b"X: a\r\n b\r\n\r\n",
    "a folded length": POST + b"Content-Length:\r\n 4\r\n\r\nabcd",
    "a space before the colon": POST + b"Content-Length : 4\r\n\r\nabcd",
    "a line feed alone": b"GET / HTTP/1.1\nHost: a\n\n",
    "a carriage return alone": b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked, then something": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked as another byte": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "a chunk without end": CHUNKED + b"1\r\nxx0\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    "a length after the body": CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
}


@pytest.mark.parametrize("said", READ_IN_TWO_WAYS.values(), ids=READ_IN_TWO_WAYS)
async def test_what_has_two_readings_is_refused_and_nothing_after_it_is_read(service, said):
    client = service.connect()
    assert await client.say(said + GET, GET) == [400]
    assert client.wire.closing
    assert b"\r\nconnection: close\r\n" in client.wire.said
    assert service.asked == []
    assert service.turned_away() == {"not-http": 1}


async def test_an_answer_that_is_due_comes_before_the_end(service):
    """What is refused behind a request must not be taken for its answer."""
    service.may.clear()
    client = service.connect()
    await client.say(GET + b"nonsense\r\n\r\n")
    assert client.statuses == []
    service.may.set()
    assert await client.say(GET) == [200]
    assert client.wire.closing


async def test_a_body_is_not_taken_for_a_request(service):
    """The parser reads no body after a head that asks for another protocol."""
    hidden = GET.replace(b"GET /", b"GET /hidden")
    length = b"Content-Length: %d\r\n\r\n" % len(hidden)
    for pieces in ((POST + UPGRADE + length, hidden), (POST + UPGRADE + length + hidden,)):
        client = service.connect()
        assert await client.say(*pieces) == [501]
    for head in (
        POST + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    ):
        assert await service.connect().say(head, hidden) == [501]
    assert service.asked == []


async def test_who_asks_for_another_protocol_is_answered_in_this_one_and_no_more(service):
    client = service.connect()
    websocket = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert await client.say(websocket + GET, GET) == [200]
    assert client.wire.closing


async def test_fields_after_the_body_are_none_of_the_request(service):
    client = service.connect()
    await client.say(CHUNKED + b"0\r\nAuthorization: Bearer x\r\n\r\n")
    assert [name for name, _ in service.fields] == [b"host", b"transfer-encoding"]


def fields(count, length=1):
    return b"".join(b"X-%d: %b\r\n" % (n, b"x" * length) for n in range(count))


@pytest.mark.parametrize("size", [1, 100, 5000])
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GET[:-2] + fields(FIELDS - 1) + b"\r\n", 200),
        (GET[:-2] + fields(FIELDS) + b"\r\n", 431),
        (GET[:-2] + b"X: " + b"x" * 900 + b"\r\n\r\n", 200),
        (GET[:-2] + b"X: " + b"x" * 1100 + b"\r\n\r\n", 431),
        (GET[:-2] + b"X: " + b"x" * 9000, 431),
        (b"GET /" + b"x" * 9000, 431),
        (b"G" * 9000, 400),
        (CHUNKED + b"0\r\n" + fields(FIELDS + 50) + b"\r\n", 431),
        (CHUNKED + b"0\r\nX: " + b"x" * 9000, 431),
        (CHUNKED + b"1;" + b"x" * 9000, 431),
    ],
)
async def test_a_head_and_what_follows_a_body_have_bounds(service, head, status, size):
    client = service.connect()
    await client.say(*(head[at : at + size] for at in range(0, len(head), size)))
    assert client.statuses == [status]


async def test_of_many_fields_few_are_looked_at():
    service = Service(HttpLimits(max_head=65_536))
    client = service.connect()
    await client.say(GET[:-2] + b"a:\r\n" * 50_000)
    assert client.statuses == [431]
    assert len(client.protocol.headers) <= PIECE // 4


async def test_requests_sent_ahead_have_a_bound(service):
    service.may.clear()
    client = service.connect()
    await client.say(GET * (AHEAD + 1))
    assert not client.wire.closing
    await client.say(GET)
    service.may.set()
    assert await client.say(*[GET] * (AHEAD + 1)) == [200] * (AHEAD + 1)
    assert client.wire.closing
    assert service.turned_away() == {"pipelined": 1}


async def test_what_is_worked_on_hears_that_its_client_has_gone_whatever_was_sent_ahead(service):
    service.listens = True
    client = service.connect()
    await client.say(GET * 3)
    client.wire.abort()
    client.protocol.connection_lost(ConnectionResetError())
    await client.say()
    assert service.asked == [("GET", b"gone")], "and what was sent ahead is not begun"


async def test_of_who_has_sent_too_much_nothing_more_is_read(service):
    client = service.connect()
    client.protocol.data_received(GET * (AHEAD + 2))
    for n in range(AHEAD + 1):
        while len(client.statuses) == n:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        assert client.wire.paused, "what comes would be read, only to be dropped"
    assert client.wire.closing


async def test_a_head_has_to_come_in_time_however_it_drips(service):
    silent, slow, empty = service.connect(), service.connect(), service.connect()
    for piece in GET[:20]:
        await slow.say(bytes([piece]))
        await empty.say(b"\r\n")
        service.clock.advance(LIMITS.head_timeout / 19)
        service.crowd.sweep()
    assert (silent.wire.aborted, silent.statuses) == (True, [])
    assert (slow.wire.closing, slow.statuses) == (True, [408])
    assert empty.wire.aborted
    assert service.turned_away() == {"slow-head": 3}


async def test_the_next_request_has_its_own_time(service):
    client = service.connect()
    for n in range(3):
        service.clock.advance(LIMITS.head_timeout - 1)
        service.crowd.sweep()
        assert await client.say(GET) == [200] * (n + 1)
    service.clock.advance(LIMITS.keep_alive + LIMITS.head_timeout + 1)
    service.crowd.sweep()
    assert client.wire.aborted


async def test_what_is_worked_on_has_all_the_time_that_it_takes(service):
    service.may.clear()
    client = service.connect()
    await client.say(GET)
    service.clock.advance(10_000)
    service.crowd.sweep()
    service.may.set()
    assert await client.say() == [200]
    service.crowd.sweep()
    assert not client.wire.closing, "the time for the next one begins now"


async def test_a_body_that_nobody_wants_is_not_waited_for_for_long(service):
    """It was answered before its body came: what comes is dropped, for a while."""
    service.reads = False
    client = service.connect()
    assert await client.say(CHUNKED) == [200]
    for _ in range(4):
        await client.say(b"1\r\nx\r\n")
        service.clock.advance((LIMITS.head_timeout + LIMITS.keep_alive) / 4 + 1)
        service.crowd.sweep()
    assert client.wire.aborted


@pytest.mark.parametrize("closing", [False, True])
async def test_who_takes_nothing_is_let_go(service, closing):
    client = service.connect()
    await client.say(GET)
    client.protocol.pause_writing()
    if closing:
        client.protocol.resume_writing()
        client.protocol.transport.close()  # what is written before it must be taken, too
        service.crowd.sweep()
    service.clock.advance(LIMITS.send_timeout - 1)
    service.crowd.sweep()
    assert not client.wire.aborted
    service.clock.advance(2)
    service.crowd.sweep()
    assert client.wire.aborted
    assert service.turned_away() == {"unread": 1}


async def test_who_takes_nothing_of_the_answer_to_a_slow_head_is_counted_until_it_is_gone():
    service = Service(HttpLimits(head_timeout=1, keep_alive=1, send_timeout=5, max_per_address=1))
    client = service.connect()
    await client.say(GET[:9])
    service.clock.advance(2)
    for _ in range(3):
        service.crowd.sweep()
        assert (client.statuses, client.wire.closing, client.wire.aborted) == ([408], True, False)
        assert len(service.crowd) == 1, "its descriptor is still open"
    assert service.connect().wire.aborted, "it is still one of its address"
    service.clock.advance(5.1)
    service.crowd.sweep()
    assert client.wire.aborted
    assert len(service.crowd) == 0
    assert service.turned_away() == {"slow-head": 1, "address": 1, "unread": 1}


async def test_who_takes_it_after_all_stays(service):
    client = service.connect()
    await client.say(GET)
    client.protocol.pause_writing()
    service.clock.advance(LIMITS.send_timeout - 1)
    client.protocol.resume_writing()
    service.clock.advance(2)
    service.crowd.sweep()
    assert not client.wire.closing


async def test_who_was_waited_for_longest_makes_room_and_strangers_first(service):
    service.accepts = True
    known = service.connect()
    await known.say(GET)
    service.accepts = False
    strangers = []
    for _ in range(LIMITS.max_connections - 1):
        service.clock.advance(0.01)
        strangers.append(service.connect())
    assert len(service.crowd) == LIMITS.max_connections
    await strangers[0].say(GET)  # so the second was waited for longest
    service.connect()
    assert [each.wire.aborted for each in (known, *strangers[:3])] == [False, False, True, False]
    assert len(service.crowd) == LIMITS.max_connections
    assert service.turned_away()["room"] == 1


async def test_a_body_that_drips_makes_room_and_what_is_worked_on_does_not(service):
    service.may.clear()
    clients = [service.connect() for _ in range(LIMITS.max_connections)]
    for client in clients[1:]:
        await client.say(GET)
    await clients[0].say(CHUNKED)
    silent = service.connect()
    assert [each.wire.aborted for each in clients] == [True] + [False] * 7
    last = service.connect()
    assert silent.wire.aborted
    await last.say(GET)
    assert service.connect().wire.aborted, "all are worked on"
    await last.say(CHUNKED)
    assert service.connect().wire.aborted, "what waits behind it is no reason to break it off"
    assert service.turned_away() == {"room": 2, "full": 2}


async def test_an_address_may_have_a_bound_of_its_own():
    service = Service(HttpLimits(max_per_address=2))
    network = [service.connect(f"2001:db8::{n}") for n in range(3)]
    assert [each.wire.aborted for each in network] == [False, False, True]
    assert not service.connect("2001:db8:0:1::").wire.aborted
    network[2].protocol.connection_lost(None)
    network[0].protocol.connection_lost(None)
    assert not service.connect("2001:db8::9").wire.aborted
    assert service.turned_away() == {"address": 1}


async def test_it_is_told_now_and_then_and_not_for_each(service):
    for _ in range(5):
        await service.connect().say(b"nonsense\r\n\r\n")
    service.crowd.sweep()
    await service.connect().say(b"nonsense\r\n\r\n")
    service.crowd.sweep()
    assert service.told == [ClientsTurnedAway("not-http", 5)]
    assert service.turned_away() == {"not-http": 1}


async def test_it_looks_at_them_while_there_are_any(service, monkeypatch):
    monkeypatch.setattr("aragora_redis.gateway.crowd.SWEEP", 0.01)
    client = service.connect()
    service.clock.advance(LIMITS.head_timeout + 1)
    async with asyncio.timeout(5):
        while not client.wire.aborted:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    client.protocol.connection_lost(None)
    service.clock.advance(TOLD_EVERY)
    async with asyncio.timeout(5):
        while service.crowd._sweeping:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("hard", "holds"), [(1_000_000, 4096), (4096, 2816), (256, 64)])
def test_there_are_no_more_connections_than_there_may_be_files(monkeypatch, caplog, hard, holds):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (64, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: asked.append(limits))
    settings = server._within_files(from_env({}))
    assert settings.gateway.http.max_connections == holds
    assert asked == [(min(hard, 5376), hard)]
    assert ("LimitNOFILE" in caplog.text) == (holds < 4096)


def test_what_a_client_may_take_is_set():
    names = ("MAX_CONNECTIONS", "MAX_PER_ADDRESS", "KEEP_ALIVE", "MAX_HEAD", "MAX_BODY")
    env = {f"ARAGORA_HTTP_{name}": str(2000 + n) for n, name in enumerate(names)}
    times = {"HEAD": "3", "BODY": "4 s", "SEND": "1 minute"}
    env |= {f"ARAGORA_HTTP_{name}_TIMEOUT": text for name, text in times.items()}
    limits = from_env(env).gateway.http
    assert limits == HttpLimits(2000, 2001, 3.0, 4.0, 60.0, 2002, 2003, 2004)
