"""One of several workers: what it is, and how it keeps in touch."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import ssl
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.gateways import client_of
from tests.integration.fleet import until
from tests.ports import free_port

from aragora_redis.errors import AragoraRedisError
from aragora_redis.gateway import workers
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


class Started:
    """A process as whoever starts it sees it: it serves, and ends once that has heard of it."""

    def __init__(self, supervisor, fault, stop, *, ends):
        self.pid, self.exitcode = None, None
        self.joined = []
        self._supervisor, self._fault, self._stop = supervisor, fault, stop
        self._ends = ends

    def start(self):
        if self._fault is not None:
            raise self._fault
        os.write(self._supervisor.fileno(), b".")
        if self._stop is not None:
            self._stop.set()

    def join(self, timeout=None):
        self.joined.append(timeout)
        self.exitcode = 0 if self._ends else None


class Forking:
    """Starts what a test has written down."""

    def __init__(self, *faults, stop):
        self.pipes, self.started, self.ends = [], [], True
        self._faults, self._stop = [*faults], stop

    def Pipe(self):  # noqa: N802 - its name
        self.pipes.append(multiprocessing.Pipe())
        return self.pipes[-1]

    def Process(self, *, target, args):  # noqa: N802 - its name
        del target
        fault = self._faults.pop(0)
        stop = None if self._faults else self._stop
        self.started.append(Started(args[-1], fault, stop, ends=self.ends))
        return self.started[-1]


@pytest.fixture
def place(monkeypatch):
    """A place of a worker whose processes start as given: a fault or None for each."""

    def made(*faults):
        stop = asyncio.Event()
        forking = Forking(*faults, stop=stop)
        monkeypatch.setattr(workers, "_FORKING", forking)
        monkeypatch.setattr(workers, "full_jitter", lambda *_, **__: 0.0)
        worker = Worker(0, (1,), b"key")
        with socket.socket() as listener:
            return workers._Place(from_env({}), worker, listener, None, stop), forking

    return made


async def test_a_worker_that_cannot_be_started_again_now_is_tried_again(place, caplog):
    kept, forking = place(None, EOFError("unexpected EOF"), OSError(11, "no process"), None)
    async with asyncio.timeout(5):
        await kept.keep()
    told = [record.getMessage().partition(": the next")[0] for record in caplog.records]
    assert told == [
        "worker 0 has ended with code 0",
        "worker 0 could not be started (unexpected EOF)",
        "worker 0 could not be started ([Errno 11] no process)",
    ]
    assert all(end.closed for pipe in forking.pipes for end in pipe)


async def test_a_first_worker_that_cannot_be_started_is_told_of(place):
    kept, forking = place(OSError(11, "no process"))
    with pytest.raises(AragoraRedisError, match="worker 0 could not be started"):
        await kept.keep()
    assert all(end.closed for pipe in forking.pipes for end in pipe)


async def test_a_process_that_does_not_end_holds_nobody_up(place, monkeypatch):
    monkeypatch.setattr(workers, "KILLED", 5 * workers._LOOK_EVERY)
    kept, forking = place(None)
    forking.ends = False
    await kept.keep()
    assert forking.started[0].joined == [0] * 5, "others run meanwhile"
    assert all(end.closed for pipe in forking.pipes for end in pipe)


async def test_who_is_cancelled_while_a_process_ends_leaves_nothing_open(place):
    kept, forking = place(None)
    forking.ends = False
    keeping = asyncio.create_task(kept.keep())
    await until(lambda: forking.started and forking.started[0].joined)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert keeping.cancelled()
    assert all(end.closed for pipe in forking.pipes for end in pipe)
    assert not kept.serves.is_set()


async def test_a_worker_is_replaced_also_where_no_thread_can_be_started(place, monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    kept, forking = place(None, None)
    await kept.keep()
    assert len(forking.started) == 2
    assert all(end.closed for pipe in forking.pipes for end in pipe)


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
