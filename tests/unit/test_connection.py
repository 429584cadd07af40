"""What is not a Redis, or not there, is one clear error that shows no secret."""

from __future__ import annotations

import asyncio
import time

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LinkDownError
from aragora_redis.events import Events
from aragora_redis.link.account import account_of
from aragora_redis.link.connection import Login, connect
from aragora_redis.settings import Credentials, Secret

LOGIN = Login(
    account_of(Credentials(None, Secret("s3cret-password")), clock=SYSTEM_CLOCK, events=Events())
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
