"""Calls that are cancelled, left or stream for long, through circuits on a real server."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from tests.integration.fleet import instances, until

from aragora_redis.errors import CircuitOpenError, OutcomeUnknownError
from aragora_redis.operation import Kind, Operation
from aragora_redis.sync import SharedState as SyncState
from aragora_redis.web.httpx import CircuitTransport, SyncCircuitTransport, by_host

_names = itertools.count(1)
ONE_TRIAL = "[circuits.default]\nhalf_open_probes = 1\nreporters = 1\nopen_for = '100 ms'\n"


@pytest.fixture
def name():
    return f"calls-{os.getpid()}-{next(_names)}"


@pytest.fixture
async def state(standalone_lab, policies):
    async with instances(standalone_lab, 1, **policies(ONE_TRIAL)) as (made,):
        yield made


async def half_open(circuit):
    for _ in range(5):
        with suppress(ConnectionError, CircuitOpenError):
            async with circuit:
                raise ConnectionError
    await until(lambda: circuit.state == "open")
    await until(lambda: circuit.state == "half-open")


async def places(state, name):
    """Trial calls that Redis has on its books."""
    key = state.circuits._keys.places(name)
    count = Operation(kind=Kind.READ, keys=(key,), args=("ZCARD", key), read=int)
    return await state._executor.run(count, within=1)


async def no_places(state, name):
    while await places(state, name):  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0.01)


def hang_once(state, monkeypatch, script):
    """Let the next run of a script hang before it is sent; set once it does."""
    run, hangs = state._executor.run, asyncio.Event()

    async def hanging(operation, *, within):
        if operation.script is not None and operation.script.name == script:
            monkeypatch.setattr(state._executor, "run", run)
            hangs.set()
            await asyncio.Event().wait()
        return await run(operation, within=within)

    monkeypatch.setattr(state._executor, "run", hanging)
    return hangs


@pytest.mark.parametrize("how", ["cancelled", "generator", "timeout around", "cancelled twice"])
async def test_a_trial_call_that_says_nothing_gives_its_place_back(state, name, how, monkeypatch):
    circuit, entered = state.circuits[name], asyncio.Event()
    await half_open(circuit)

    async def call():
        async with circuit.guard():
            entered.set()
            await asyncio.Event().wait()

    async def stream():
        async with circuit:
            yield 1

    if how == "generator":
        parts = stream()
        await anext(parts)
        assert await places(state, name) == 1
        await parts.aclose()
    elif how == "timeout around":
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await call()
    else:
        task = asyncio.create_task(call())
        await entered.wait()
        assert await places(state, name) == 1
        with pytest.raises(CircuitOpenError):
            await circuit.acquire()
        if how == "cancelled twice":
            telling = hang_once(state, monkeypatch, "circuit_settle")
            task.cancel()
            await telling.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with asyncio.timeout(3):  # its lease would be five seconds
        await no_places(state, name)
    assert circuit.state == "half-open"
    async with circuit:
        pass
    assert circuit.state == "closed"


async def test_a_trial_that_is_cancelled_while_it_asks_costs_no_place(state, name, monkeypatch):
    circuit = state.circuits[name]
    await half_open(circuit)
    run, told = state._executor.run, asyncio.Event()

    async def slow(operation, *, within):
        answer = await run(operation, within=within)
        if operation.script is not None and operation.script.name == "circuit_acquire":
            told.set()
            await asyncio.Event().wait()
        return answer

    monkeypatch.setattr(state._executor, "run", slow)
    task = asyncio.create_task(circuit.acquire())
    await told.wait()
    monkeypatch.undo()
    task.cancel()
    with suppress(asyncio.CancelledError, OutcomeUnknownError):
        await task
    async with asyncio.timeout(3):
        await no_places(state, name)


class Upstream:
    """A server that answers as its path says: a status, then a body that waits for the gate."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.url = self.circuit = ""

    async def handle(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            path = asked.split()[1].decode()
            if path == "/hang":
                await self.gate.wait()
            status = path[1:4] if path[1:4].isdigit() else "200"
            # One connection a request: who used it again could meet its end.
            head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
            writer.write(f"{head}\r\n".encode())
            writer.write(b"1\r\na\r\n")
            await writer.drain()
            if path in {"/stream", "/break"}:
                await self.gate.wait()
            if path != "/break":
                writer.write(b"1\r\nb\r\n0\r\n\r\n")
                await writer.drain()
        writer.close()


@asynccontextmanager
async def upstream():
    made = Upstream()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    made.circuit = by_host(httpx.Request("GET", made.url))
    try:
        yield made
    finally:
        made.gate.set()
        server.close()


def counts(circuit):
    seen = circuit._known.window.seen(circuit.monotonic())
    return seen.calls, seen.failures


@pytest.mark.parametrize("until_", ["headers", "body"])
async def test_httpx_requests_count_by_status_and_errors_of_the_transport(state, until_):
    transport = CircuitTransport(state.circuits, until=until_)
    async with upstream() as server, httpx.AsyncClient(transport=transport) as client:
        circuit = state.circuits[server.circuit]
        assert (await client.get(server.url + "/200")).text == "ab"
        assert (await client.get(server.url + "/404")).status_code == 404
        assert counts(circuit) == (2, 0)
        assert (await client.get(server.url + "/503")).text == "ab", "the response is the caller's"
        with pytest.raises(httpx.ReadTimeout):
            await client.get(server.url + "/hang", timeout=0.05)
        assert counts(circuit) == (4, 2)
        cancelled = asyncio.create_task(client.get(server.url + "/hang"))
        await until(lambda: circuit.bulkhead.in_flight == 1)
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("gopher://" + server.url.partition("//")[2])
        assert (counts(circuit), circuit.bulkhead.in_flight) == ((4, 2), 0)
        await client.get(server.url + "/500")
        await until(lambda: circuit.state == "open")
        with pytest.raises(CircuitOpenError):
            await client.get(server.url + "/200")
    refused = CircuitTransport(state.circuits, until=until_)
    async with httpx.AsyncClient(transport=refused) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
        assert counts(state.circuits["127.0.0.1_1"]) == (1, 1)


async def test_a_stream_that_is_a_trial_keeps_its_place_until_it_ends_or_is_left(state):
    """Ended, left by the caller, dropped without a word, and broken off by the server."""
    transport = CircuitTransport(state.circuits, until="body")
    async with upstream() as server, httpx.AsyncClient(transport=transport) as client:
        name, url = server.circuit, server.url
        circuit = state.circuits[name]
        await half_open(circuit)
        async with client.stream("GET", url + "/stream"):
            assert (await places(state, name), circuit.bulkhead.in_flight) == (1, 1)
            with pytest.raises(CircuitOpenError):
                await client.get(url + "/200")
        assert (await places(state, name), circuit.bulkhead.in_flight) == (0, 0)
        assert circuit.state == "half-open", "it was left and says nothing"

        response = await client.send(client.build_request("GET", url + "/stream"), stream=True)
        assert await places(state, name) == 1
        del response
        gc.collect()
        async with asyncio.timeout(3):
            await no_places(state, name)
        assert circuit.bulkhead.in_flight == 0

        async with client.stream("GET", url + "/break") as response:
            server.gate.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await response.aread()
        assert circuit.state == "open"
        await until(lambda: circuit.state == "half-open")
        assert (await client.get(url + "/stream")).text == "ab"
        assert circuit.state == "closed"


async def test_threads_have_the_same_transport(standalone_lab, policies):
    env = standalone_lab.env() | policies(ONE_TRIAL)
    async with upstream() as server:
        server.gate.set()

        def work():
            with SyncState.from_env(env) as state:
                for until_ in ("headers", "body"):
                    transport = SyncCircuitTransport(state.circuits, until=until_)
                    with httpx.Client(transport=transport) as client:
                        assert client.get(server.url + "/200").text == "ab"
                        assert client.get(server.url + "/503").status_code == 503
                        with client.stream("GET", server.url + "/stream"):
                            pass
                state.circuits.all()
                return counts(state.circuits[server.circuit]._circuit())

        # Left streams: known at the headers as a success, by their body as nothing.
        assert await asyncio.to_thread(work) == (5, 2)
        assert not [t for t in threading.enumerate() if "circuit" in t.name]


async def test_reporters_and_forces_are_seen_from_everywhere(standalone_lab, name):
    async with instances(standalone_lab, 2) as (one, two):
        for state, failures in ((one, 1), (two, 0)):
            circuit = state.circuits[name]
            for number in range(2):
                circuit.count(await circuit.acquire(), ok=number >= failures, duration=0)
            await circuit.report_evidence()
        told = {each.instance: each for each in await one.circuits.reporters(name)}
        assert told.keys() == {one.boot_id, two.boot_id}
        assert (told[one.boot_id].calls, told[one.boot_id].failures) == (2, 1)
        assert all(0 <= each.age < 5 for each in told.values())
        await one.circuits.force(name, "open", reason="maintenance", actor="ann", ttl=0.5)
        await until(lambda: two.circuits[name].state == "forced-open")
        shown = two.circuits[name].snapshot()
        assert (shown.reason, shown.forced_by) == ("maintenance", "ann")
        assert shown.forced_until > shown.forced_at
        await until(lambda: two.circuits[name].state == "closed")
