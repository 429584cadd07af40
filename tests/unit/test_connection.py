"""What is not a Redis, or not there, is one clear error that shows no secret."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.fuzz.between import Posing

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LinkDownError
from aragora_redis.events import Events
from aragora_redis.link import pipe as pipe_module
from aragora_redis.link.account import account_of
from aragora_redis.link.connection import Login, connect
from aragora_redis.link.pipe import Pipe
from aragora_redis.settings import Credentials, Secret

LOGIN = Login(
    account_of(
        Credentials(None, Secret("s3cret-password")),
        setting="ARAGORA_REDIS_PASSWORD",
        clock=SYSTEM_CLOCK,
        events=Events(),
    )
)
HELLO_QUOTED = (
    b"-ERR unknown command 'HELLO', with args beginning with: 'AUTH' 's3cret-password'\r\n"
)


async def refused(target, login=LOGIN, limit=1.0):
    with pytest.raises(LinkDownError) as caught:
        await connect(target, login, timeout=limit, on_push=lambda _: None)
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__!r}"
    return str(caught.value)


@pytest.fixture
async def answering():
    """Makes a server that answers anything with the same bytes, and then waits or hangs up."""
    servers = []

    async def serve(answer, *, hang_up=False):
        async def handle(reader, writer):
            await reader.read(1)
            writer.write(answer)
            if not hang_up:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return Address("127.0.0.1", server.sockets[0].getsockname()[1])

    yield serve
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b"*1\r\n$1\r\nx\r\n",
        b"$-1\r\n",
        b"\x00\xff" * 10,
        b":5\r\n",
        b"%1\r\n+proto\r\n:2\r\n",
        HELLO_QUOTED,
        b"-NOAUTH Authentication required.\r\n",
    ],
)
async def test_a_peer_that_answers_oddly(answering, answer):
    target = await answering(answer)
    assert str(target) in await refused(target)


UNREADABLE = {
    "a map whose key is a list": b"%1\r\n*0\r\n:1\r\n",
    "no RESP": b"HTTP/1.1 200 OK\r\n",
    "an array of all there are": b"*99999999999\r\n",
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_ends_the_connection_and_no_more(posing, caplog, answer):
    pipe = await connect(posing.address, LOGIN, timeout=1.0, on_push=lambda _: None)
    posing.answer = lambda _command: answer
    with pytest.raises(LinkDownError, match="does not speak RESP"):
        await pipe.request("ROLE", timeout=1.0)
    assert pipe.closed is not None
    assert not caplog.records


async def test_a_reply_without_end_is_given_up_before_it_fills_the_memory(posing, monkeypatch):
    monkeypatch.setattr(pipe_module, "REPLY_LIMIT", 200_000)
    pipe = await connect(posing.address, LOGIN, timeout=1.0, on_push=lambda _: None)
    posing.answer = lambda _command: b"$150000\r\n" + b"x" * 150_000 + b"\r\n"
    for _ in range(3):  # what is whole counts for nothing
        assert len(await pipe.request("GET", "x", timeout=1.0)) == 150_000
    posing.answer = lambda _command: b"$99999999999\r\n" + b"x" * 300_000
    with pytest.raises(LinkDownError, match="larger than 200000 bytes"):
        await pipe.request("GET", "x", timeout=1.0)


@pytest.fixture
async def posing():
    async with Posing().listening() as posing:
        yield posing


@pytest.mark.parametrize("answer", [b"", b"%7\r\n$6\r\nser"], ids=["nothing", "half a reply"])
async def test_i4_a_peer_that_does_not_go_on(answering, answer):
    target = await answering(answer)
    began = time.monotonic()
    assert "within 0.1 s" in await refused(target, limit=0.1)
    assert time.monotonic() - began < 0.3


async def test_a_peer_that_hangs_up(answering):
    assert "cannot be reached" in await refused(await answering(b"%7\r\n", hang_up=True))


async def test_a_wrong_password_names_its_variable(answering):
    target = await answering(b"-WRONGPASS invalid username-password pair\r\n")
    assert "ARAGORA_REDIS_PASSWORD" in await refused(target)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Address("127.0.0.1", 1), "Connection refused"),
        ("/no/such.sock", "No such file"),
        (Address("no-such-host.invalid", 6379), "no-such-host.invalid cannot be resolved"),
    ],
)
async def test_a_server_that_is_not_there(target, why):
    assert why in await refused(target)


async def test_a_connection_that_has_ended_still_tells_where_it_led():
    """The transport of TLS raises by then, and whoever asked, or printed it, got that."""

    class Transport:
        def __init__(self):
            self.asked = 0

        def get_extra_info(self, _name):
            self.asked += 1
            if self.asked > 1:
                raise AttributeError("'NoneType' object has no attribute '_get_extra_info'")
            return ("10.0.0.1", 6379)

        def set_protocol(self, _protocol):
            return

    pipe = Pipe(cast("Any", SimpleNamespace(_writer=SimpleNamespace(transport=Transport()))), print)
    assert pipe.peer == "10.0.0.1"
    assert "10.0.0.1" in repr(pipe)
