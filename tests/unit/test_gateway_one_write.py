"""Answers leave as one write, whatever the server writes, and nothing waits for long."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from aragora_redis.gateway.one_write import JoiningTransport, OneWriteProtocol


class Wire(asyncio.Transport):
    """What is written, write by write."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self.closing = False

    def write(self, data):
        assert not self.closing
        self.writes.append(data)

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def get_extra_info(self, _name, default=None):
        return default

    def close(self):
        self.closing = True


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
async def joining(wire):
    return JoiningTransport(wire, asyncio.get_running_loop())


async def test_two_writes_of_a_turn_leave_as_one(wire, joining):
    joining.write(b"head")
    assert not wire.writes
    joining.write(bytearray(b"body"))
    assert wire.writes == [b"headbody"]
    await asyncio.sleep(0)
    assert wire.writes == [b"headbody"]


async def test_a_write_alone_leaves_with_the_next_turn(wire, joining):
    joining.write(b"event")
    await asyncio.sleep(0)
    assert wire.writes == [b"event"]


async def test_never_more_than_one_is_held(wire, joining):
    for part in (b"a", b"b", b"c", b"d", b"e"):
        joining.write(part)
    assert wire.writes == [b"ab", b"cd"]
    await asyncio.sleep(0)
    assert wire.writes == [b"ab", b"cd", b"e"]


async def test_nothing_written_is_nothing_held(wire, joining):
    joining.write(b"")
    joining.write(b"a")
    assert not wire.writes
    joining.write(b"")
    assert wire.writes == [b"a"]


async def test_what_is_held_is_written_before_it_is_closed(wire, joining):
    joining.write(b"last")
    joining.close()
    assert joining.is_closing()
    assert wire.writes == [b"last"]
    await asyncio.sleep(0)
    assert wire.writes == [b"last"]


async def test_nothing_is_written_to_a_connection_that_has_ended(wire, joining):
    joining.write(b"late")
    wire.close()
    await asyncio.sleep(0)
    assert not wire.writes


async def app(scope, _receive, send):
    fields = [(b"content-length", b"2")] if scope["path"] == "/whole" else []
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if scope["path"] == "/stream":
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"!", "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"ok"})


async def asked(wire, *paths):
    state = ServerState()
    protocol = OneWriteProtocol(uvicorn.Config(app, log_config=None), state, {})
    protocol.connection_made(wire)
    protocol.data_received(b"".join(b"GET %b HTTP/1.1\r\n\r\n" % path for path in paths))
    for _ in range(20):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    return [bytes(write) for write in wire.writes]


async def test_the_server_answers_by_one_write(wire):
    (answer,) = await asked(wire, b"/whole")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nok")


async def test_each_of_several_at_once_is_one_write(wire):
    assert len(await asked(wire, b"/whole", b"/whole", b"/whole")) == 3


async def test_who_sends_no_more_gets_the_answer_that_is_held(wire):
    protocol = OneWriteProtocol(uvicorn.Config(app, log_config=None), ServerState(), {})
    protocol.connection_made(wire)
    protocol.transport.write(b"HTTP/1.1 200 OK")
    protocol.eof_received()
    wire.close()
    assert wire.writes == [b"HTTP/1.1 200 OK"]


async def test_what_is_written_to_who_has_gone_is_dropped(wire, joining):
    """The server knows of the last request alone that its client has gone, not of those before."""
    joining.write(b"head")
    wire.close()
    joining.write(b"body")
    assert wire.writes == []


async def test_a_stream_leaves_as_it_comes(wire):
    head, *parts = await asked(wire, b"/stream")
    assert head.endswith(b"\r\n\r\n")
    assert parts[0] == b"1\r\n!\r\n"
    assert b"".join(parts[1:]) == b"2\r\nok\r\n0\r\n\r\n"
