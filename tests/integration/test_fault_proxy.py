"""What the fault proxy does, and that the library keeps its deadlines behind it (I4)."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from tests.integration.fleet import healthy, instances, until

from aragora_redis import Level
from aragora_redis.errors import AragoraRedisError
from aragora_redis.lab.fault_proxy import NONE, FaultProxy, Faults
from aragora_redis.state.sessions.endable import WRITE_LIMIT

DEADLINE = 0.05
NOISE = 0.1
"""Seconds by which a loaded machine may be late."""


async def exchange(proxy, request, within=1.0):
    """What comes back for some bytes, until the end or a silence."""
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(request)
    found = b""
    try:
        async with asyncio.timeout(within):
            while data := await reader.read(1024):
                found += data
    except TimeoutError:
        found += b"<silence>"
    except ConnectionResetError:
        found += b"<reset>"
    writer.close()
    return found


@pytest.fixture
async def echo():
    """A server that answers with what it was sent."""

    async def serve(reader, writer):
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (NONE, b"0123456789<silence>"),
        (Faults(half_after=4), b"0123"),
        (Faults(reset_after=4), b"0123<reset>"),
        (Faults(silent_after=4), b"0123<silence>"),
        (Faults(silent_after=0), b"<silence>"),
        (Faults(half_after=10), b"0123456789"),
        (Faults(refuse=True), b""),
    ],
    ids=repr,
)
async def test_what_passes(echo, faults, expected):
    async with FaultProxy(echo, faults) as proxy:
        got = await exchange(proxy, b"0123456789", within=0.3)
    # A reset may take with it what came before, and follows what is sent to a closed connection.
    assert got == expected or (got == b"<reset>" and (faults.reset_after or faults.refuse))


async def test_delay_and_throttle_take_their_time(echo):
    async with FaultProxy(echo, Faults(delay=0.1)) as proxy:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"x" * 100)
        await reader.readexactly(100)
        assert time.monotonic() - began >= 0.2
        proxy.faults = Faults(bytes_per_second=500)
        began = time.monotonic()
        writer.write(b"x" * 100)
        await reader.readexactly(100)
        assert time.monotonic() - began >= 0.2
        writer.close()


async def test_a_command_that_comes_in_two_parts_is_answered_once(echo):
    async with FaultProxy(echo, Faults(answer=b"-LOADING in test\r\n")) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        for part in (b"*1\r\n$4\r\nPI", b"NG\r\n*1\r\n$4\r\nPING\r\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)  # so that they arrive apart
        answer = b"-LOADING in test\r\n"
        assert await reader.readexactly(2 * len(answer)) == 2 * answer
        writer.close()


BAD = (
    Faults(delay=0.2),
    Faults(bytes_per_second=20),
    Faults(half_after=3),
    Faults(reset_after=3),
    Faults(silent_after=3),
    Faults(answer=b"-LOADING Redis is loading the dataset in memory\r\n"),
    Faults(answer=b"-MASTERDOWN Link with MASTER is down\r\n"),
    Faults(answer=b"-READONLY You can't write against a read only replica.\r\n"),
    Faults(answer=b"-NOAUTH Authentication required.\r\n"),
    Faults(answer=b"-ERR unheard of\r\n"),
)


@asynccontextmanager
async def in_time(limit, of):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit + NOISE, of


@pytest.mark.alone
async def test_i4_no_call_waits_longer_than_its_deadline(make_lab):
    lab = make_lab("standalone")
    lab.start()
    node = lab.node("redis-0")
    async with FaultProxy(node.address) as proxy:
        led = {"ARAGORA_REDIS_URL": f"redis://{proxy.address}/0"}
        async with instances(lab, 1, ARAGORA_RATE_LIMIT_FAIL_OPEN="true", **led) as (state,):
            await state.tokens.revoke("gone", expires_at=time.time() + 600)
            for round_, faults in enumerate(BAD):
                proxy.faults = faults
                for number in range(20):
                    async with in_time(DEADLINE, faults):
                        decision = await state.rate_limits.check("api", f"u{round_}-{number}")
                    assert decision.allowed, faults
                async with in_time(WRITE_LIMIT, faults):
                    with pytest.raises(AragoraRedisError):
                        await state.sessions.create(user="42")
                async with in_time(0.3, faults):
                    new = f"new-{round_}"
                    receipt = await state.tokens.revoke(
                        new, expires_at=time.time() + 600, within=0.3
                    )
                assert receipt.level is Level.LOCAL, faults
                assert state.tokens.is_revoked({"jti": "gone"})
                assert state.tokens.is_revoked({"jti": new})
                proxy.faults = NONE
                await until(healthy(state))
                await until(lambda: state.tokens.outbox_depth == 0)


GARBAGE = (
    b"+OK\r\n",
    b":5\r\n",
    b":-1\r\n",
    b"$-1\r\n",
    b"_\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"%1\r\n+a\r\n:1\r\n",
    b"~1\r\n+a\r\n",
    b",inf\r\n",
    b"#t\r\n",
    b"*3\r\n$7\r\nsession\r\n:1\r\n*1\r\n+a\r\n",
    b"*3\r\n$5\r\nmoved\r\n:1\r\n:5\r\n",
    b"*3\r\n$4\r\nfull\r\n:1\r\n*1\r\n:100000000000000\r\n",
    b"*6\r\n,inf\r\n,inf\r\n,inf\r\n,inf\r\n,inf\r\n,inf\r\n",
    b"-LATE \xc2\xb2\r\n",
    b"-\r\n",
    b"?garbage\r\n",
    b"\x00\xff\r\n",
)


async def test_replies_that_are_not_what_was_asked(make_lab, caplog):
    """A clear typed error each, in time, nothing in the log that looks like a fault of ours."""
    lab = make_lab("standalone")
    lab.start()
    async with FaultProxy(lab.node("redis-0").address) as proxy:
        led = {"ARAGORA_REDIS_URL": f"redis://{proxy.address}/0"}
        async with instances(lab, 1, ARAGORA_RATE_LIMIT_FAIL_OPEN="true", **led) as (state,):
            session = await state.sessions.create(user="42", data={"a": 1})
            tasks = len(asyncio.all_tasks())
            for answer in GARBAGE:
                proxy.faults = Faults(answer=answer)
                calls = (
                    state.sessions.get(session.id),
                    state.sessions.create(user="42"),
                    state.sessions.update(session, set={"a": 2}, within=0.2),
                    state.sessions.of_user("42", within=0.2),
                    state.sessions.end_user("another", within=0.2),  # it holds all the same
                    state.circuits.force("c", "open"),
                    state.rate_limits.reset("api", "u"),
                )
                async with in_time(WRITE_LIMIT, answer):
                    told = await asyncio.gather(*calls, return_exceptions=True)
                wrong = [
                    e
                    for e in told
                    if isinstance(e, BaseException) and not isinstance(e, AragoraRedisError)
                ]
                assert not wrong, (answer, wrong)
                assert (await state.rate_limits.check("api", "u")).allowed, answer
                async with state.circuits["c"]:
                    pass
                await state.circuits.all()
                proxy.faults = NONE
                await until(healthy(state))
            assert (await state.sessions.get(session.id)).data == {"a": 1}, "nothing is lost"
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert not [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")]
