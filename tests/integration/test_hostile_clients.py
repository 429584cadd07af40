"""A gateway behind clients that mean harm: it is bounded, and serves others meanwhile."""

from __future__ import annotations

import asyncio
import re
import resource
import sys
import time
from contextlib import AsyncExitStack

import pytest
from tests.integration.hostile import ADMIN, ATTACKS, HEAD, LOGIN, Gateway, attack, beside
from tests.ports import free_port

from aragora_redis.gateway.crowd import TOLD_EVERY

ROOM = 64
MEMORY = 48.0
"""MiB that so many may cost, whatever they do."""
SETTINGS = {
    "ARAGORA_HTTP_MAX_CONNECTIONS": str(ROOM),
    "ARAGORA_HTTP_HEAD_TIMEOUT": "1",
    "ARAGORA_HTTP_BODY_TIMEOUT": "1",
    "ARAGORA_HTTP_SEND_TIMEOUT": "1",
}


def opened(directory, **settings):
    return Gateway(free_port(), directory / "log", **settings)


def closed(gateway):
    gateway.stop()
    said = gateway.log.read_text()
    assert "Traceback" not in said
    assert len(said) < 20_000, "clients cannot fill the log"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = opened(tmp_path_factory.mktemp("hostile"), **SETTINGS)
    yield gateway
    closed(gateway)


def login(gateway, token):
    body = b"token=" + token.encode()
    return gateway.ask(
        LOGIN + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


async def test_one_login_has_so_many_streams_and_wrong_ones_have_to_wait(gateway):
    found = re.search(rb"(?i)set-cookie: ([^;]+)", login(gateway, ADMIN))
    assert found
    said = b"GET /dashboard/events" + HEAD + b"Cookie: %b\r\n\r\n" % found[1]
    async with AsyncExitStack() as streams:
        statuses = []
        for _ in range(9):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            streams.callback(writer.close)
            writer.write(said)
            statuses.append((await reader.readline()).split()[1])
        assert statuses == [b"200"] * 8 + [b"503"]
    wrong = [login(gateway, "wrong-token-of-anybody")[9:12] for _ in range(6)]
    assert wrong == [b"403"] * 5 + [b"429"]
    assert login(gateway, ADMIN)[9:12] == b"429", "so that guesses cannot be told from it"


@pytest.mark.paired
async def test_others_are_served_and_memory_is_bounded(gateway):
    """More clients than there is room for, of all kinds at once."""
    before = gateway.memory
    with beside(gateway.port) as served:
        async with AsyncExitStack() as attacks:
            await attacks.enter_async_context(attack("silent", ROOM, gateway.port))
            for name in ATTACKS:
                await attacks.enter_async_context(attack(name, 6, gateway.port))
            await asyncio.sleep(3)
            held, files = gateway.memory, gateway.files
    assert served.requests > 10
    assert served.failed <= served.requests // 20, served
    assert served.median < 250, served
    assert held - before < MEMORY
    assert files < ROOM + 60
    end = time.monotonic() + TOLD_EVERY + 5  # they are told at once, or with the next line
    while not gateway.turned_away().keys() >= {"room", "large-head", "not-http"}:
        assert time.monotonic() < end, gateway.turned_away()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET /healthz" + HEAD + b"X: ", 408),
        (LOGIN + b"Content-Length: 9\r\n\r\nx", 408),
        (b"GET /healthz" + HEAD + b"X: " + b"x" * 40_000, 431),
        (b"GET /healthz" + HEAD + b"a: b\r\n" * 101 + b"\r\n", 431),
        (LOGIN + b"Content-Length: 1000000000\r\n\r\n", 413),
        (LOGIN + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /healthz" + HEAD + b"Host: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: \x80[::\r\nConnection: close\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 421),
        (b"GET http://evil.example/healthz" + HEAD + b"Connection: close\r\n\r\n", 200),
        (b"GET /healthz" + HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
        (LOGIN + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\ntest", 501),
        (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
def test_what_is_refused_is_told_once_and_the_connection_ends(gateway, said, status):
    answer = gateway.ask(said)
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) == [b"%d" % status]


@pytest.mark.drill
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [None, *ATTACKS])
async def test_figures(name, tmp_path):
    """Two thousand clients of a kind, with the limits that are set where nobody sets any."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    gateway = opened(tmp_path)
    before = gateway.memory
    async with AsyncExitStack() as attacks:
        if name is not None:
            await attacks.enter_async_context(attack(name, 2000, gateway.port))
        await asyncio.sleep(3)
        with beside(gateway.port) as served:
            await asyncio.sleep(15)
        held = gateway.memory
    turned_away = gateway.turned_away()
    closed(gateway)
    sys.stdout.write(
        f"\n{name or 'nobody':16} {held - before:6.1f} MiB  {served.median:6.1f} ms median "
        f"{served.p99:7.1f} p99 {served.worst:7.1f} worst  {served.failed} of {served.requests} "
        f"failed  {turned_away}\n"
    )
    assert held - before < 2000 * 0.17, "a body and what is read at a time, for each"
    assert served.failed <= served.requests // 20
