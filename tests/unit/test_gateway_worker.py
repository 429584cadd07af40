"""One of several workers: what it is, and how it keeps in touch."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import ssl
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.gateways import client_of
from tests.ports import free_port

from aragora_redis.gateway.siblings import KEPT, Siblings
from aragora_redis.gateway.worker import Worker, keep_in_touch
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState
from aragora_redis.testing import FakeClock


def test_a_worker_is_an_instance_of_its_own():
    worker = Worker(1, (1, 2), b"key")
    named = from_env({"ARAGORA_INSTANCE_ID": "gw"})
    assert worker.settings(named).instance_id == "gw:1"
    unnamed = from_env({})
    assert worker.settings(unnamed) is unnamed


def test_a_supervisor_that_reads_nothing_is_not_waited_for():
    ours, theirs = multiprocessing.Pipe()
    pipe, full = theirs.fileno(), False
    os.set_blocking(pipe, False)
    while not full:
        try:
            os.write(pipe, bytes(4096))
        except BlockingIOError:
            full = True
    os.set_blocking(pipe, True)

    async def touch():
        keep_in_touch(theirs)
        asyncio.get_running_loop().remove_reader(pipe)

    touching = threading.Thread(target=lambda: asyncio.run(touch()), daemon=True)
    touching.start()
    touching.join(10)
    still = touching.is_alive()
    ours.close()
    theirs.close()
    assert not still


class Other:
    """A worker as its siblings see it."""

    def __init__(self):
        self.ready, self.asked = False, 0

    @asynccontextmanager
    async def served(self):
        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            status = "200 OK" if self.ready else "503 Service Unavailable"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def others():
    async with AsyncExitStack() as stack:
        made = [Other(), Other()]
        yield made, [await stack.enter_async_context(each.served()) for each in made]


async def test_workers_are_ready_once_all_were_then_as_long_as_any_is(others, monkeypatch):
    def load(*_args, **_options):
        raise AssertionError("authorities are loaded")

    monkeypatch.setattr(ssl, "create_default_context", load)
    (first, second), ports = others
    clock = FakeClock()
    siblings = Siblings(Worker(0, tuple(ports), b"key"), clock=clock)

    async def told(*, own):
        clock.advance(KEPT * 2)
        return await siblings.ready(own=own)

    first.ready = True
    assert not await told(own=True)
    second.ready = True
    assert not await siblings.ready(own=True), "the answer is kept for a moment"
    assert await told(own=True)
    second.ready = False
    assert await told(own=False), "it is being replaced"
    first.ready = False
    assert not await told(own=False)
    asked = first.asked
    assert [await siblings.ready(own=False) for _ in range(20)] == [False] * 20
    assert first.asked == asked
    await siblings.close()


async def test_one_that_takes_the_place_of_another_makes_nobody_unready(others):
    (first, _), ports = others
    first.ready = True
    siblings = Siblings(Worker(1, tuple(ports), b"key", replaces=True), clock=FakeClock())
    assert await siblings.ready(own=False)
    await siblings.close()


@pytest.mark.parametrize("worker", [None, Worker(0, (1, 2), b"key")])
async def test_what_one_of_several_revokes_without_redis_is_in_force_there(worker):
    env = {
        "ARAGORA_REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "ARAGORA_REDIS_DEADLINE": "0.2",
        "ARAGORA_DIGEST_KEY": "0123456789abcdef" * 2,
    }
    async with client_of(SharedState(from_env(env)), worker=worker) as client:
        revoked = await client.post("/v1/tokens/revoke", json={"user": "u"})
    assert (revoked.status_code, revoked.json()["level"]) == (202, "local")
    assert ("in the worker that has answered" in revoked.text) is (worker is not None)
