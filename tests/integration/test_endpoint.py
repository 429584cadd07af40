"""One name behind which the server changes: what the way there does by itself.

Two addresses lead to one Redis through relays, so that what is lost is lost by the way alone. A
service with a primary and a replica is in test_managed.py.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.integration.fleet import until

from aragora_redis import SharedState
from aragora_redis.events import Event, MaintenanceAnnounced, ViewChanged

NAME = "redis.example"
OLD, NEW = "127.0.0.2", "127.0.0.3"


class Relay:
    """Passes bytes on to a server, and says more to those whom it serves."""

    def __init__(self, server):
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: asyncio.Server | None = None
        self.heard = b""

    @property
    def clients(self):
        return len(self._writers)

    async def open(self, host, port=0):
        self._serving = await asyncio.start_server(self._serve, host, port)
        return self._serving.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        there, back = await asyncio.open_connection(*self._server)
        self._writers.add(writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, back, hears=True))
                group.create_task(self._pass_on(there, writer))
        except* OSError:
            pass
        finally:
            self._writers.discard(writer)

    async def _pass_on(self, source, sink, *, hears=False):
        try:
            while data := await source.read(65536):
                self.heard += data if hears else b""
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()

    def push(self, *words):
        packed = "".join(
            "_\r\n" if each is None else f":{each}\r\n" if isinstance(each, int) else f"+{each}\r\n"
            for each in words
        )
        for writer in self._writers:
            writer.write(f">{len(words)}\r\n{packed}".encode())

    async def close(self):
        if self._serving is not None:
            self._serving.close()
        for writer in self._writers:
            writer.close()
        await until(lambda: not self._writers)


class HostsFile:
    def __init__(self, path):
        self.path = path
        self.lead_to(OLD)

    def lead_to(self, address, name=NAME):
        other = self.path.with_suffix(".new")
        other.write_text(f"{address} {name}\n")
        other.rename(self.path)


@pytest.fixture
async def two(standalone_lab):
    """Relays at two addresses, on one port."""
    server = standalone_lab.node("primary").address
    async with AsyncExitStack() as stack:
        old, new = Relay(server), Relay(server)
        stack.push_async_callback(old.close)
        stack.push_async_callback(new.close)
        port = await old.open(OLD)
        await new.open(NEW, port)
        yield old, new, port


@pytest.fixture
def hosts(tmp_path):
    return HostsFile(tmp_path / "hosts")


@asynccontextmanager
async def following(standalone_lab, hosts, port):
    env = {
        "ARAGORA_REDIS_URL": f"redis://{NAME}:{port}/0",
        "ARAGORA_REDIS_PASSWORD": standalone_lab.credentials.redis_password,
        "ARAGORA_REDIS_HOSTS_FILE": str(hosts.path),
        "ARAGORA_KEY_PREFIX": "endpoint",
        "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
    }
    async with SharedState.from_env(env) as state:
        events: list[Event] = []
        state.events.subscribe(events.append)
        yield state, events


class Load:
    """Checks without a pause; remembers who decided."""

    def __init__(self, state):
        self._state = state
        self.sources: list[str] = []

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self):
        while True:
            decision = await self._state.rate_limits.check("api", "u")
            self.sources.append(decision.source.value)
            await asyncio.sleep(0.002)


async def test_lanes_are_given_up_when_the_name_leaves_their_server(standalone_lab, two, hosts):
    """The old one answers on, as a former primary that stood still would."""
    old, new, port = two
    async with following(standalone_lab, hosts, port) as (state, events):
        assert (old.clients, new.clients) == (3, 0)
        hosts.lead_to(NEW)
        await until(lambda: (old.clients, new.clients) == (0, 3))
        await until(lambda: state.status().health == "healthy")
        (moved,) = (each for each in events if isinstance(each, ViewChanged))
        assert (str(moved.old), str(moved.new)) == (f"{OLD}:{port}", f"{NEW}:{port}")
        assert moved.epoch is None


@pytest.mark.alone
async def test_a_move_that_is_announced_costs_nobody_an_answer(standalone_lab, two, hosts):
    old, new, port = two
    async with following(standalone_lab, hosts, port) as (state, events), Load(state) as load:
        assert b"MAINT_NOTIFICATIONS" in old.heard
        old.push("MOVING", 1, 2, None)
        await until(lambda: any(isinstance(each, MaintenanceAnnounced) for each in events))
        hosts.lead_to(NEW)
        await until(lambda: (old.clients, new.clients) == (0, 3))
        seen = len(load.sources)
        await until(lambda: len(load.sources) > seen + 20)
    assert set(load.sources) <= {"redis", "deny-cache"}


async def test_work_that_is_over_leads_to_new_connections(standalone_lab, two, hosts):
    """The data behind the same address may be those of another server."""
    old, _, port = two
    async with following(standalone_lab, hosts, port) as (state, events), Load(state) as load:
        old.push("FAILING_OVER", 1, 30)
        await until(lambda: any(isinstance(each, MaintenanceAnnounced) for each in events))
        lanes = list(state._redis.reach.routes[0].links.lanes.values())
        before = [mux.generation for mux in lanes]
        old.push("FAILED_OVER", 1)
        await until(
            lambda: all(mux.generation > was for mux, was in zip(lanes, before, strict=True))
        )
        await until(lambda: old.clients == 3)
        seen = len(load.sources)
        await until(lambda: len(load.sources) > seen + 20)
    assert set(load.sources) <= {"redis", "deny-cache"}


async def test_a_name_that_rotates_is_said_and_not_chased(standalone_lab, two, hosts, monkeypatch):
    _, _, port = two
    monkeypatch.setattr("aragora_redis.link.endpoint_watcher.LOOK_EVERY", 0.02)
    async with following(standalone_lab, hosts, port) as (state, events):

        async def rotate():
            while True:
                for address in (NEW, OLD):
                    hosts.lead_to(address)
                    await asyncio.sleep(0.05)

        rotating = asyncio.create_task(rotate())
        try:
            await until(lambda: "cannot be followed" in str(state.status().troubles))
            ups = len(events)
            await until(lambda: state.status().health == "healthy")
            assert (await state.rate_limits.check("api", "u")).source.value == "redis"
            assert len(events) - ups < 20
        finally:
            rotating.cancel()
            await asyncio.gather(rotating, return_exceptions=True)


async def test_a_name_that_nobody_knows_any_more_ends_no_connection(standalone_lab, two, hosts):
    old, _, port = two
    async with following(standalone_lab, hosts, port) as (state, _):
        hosts.lead_to(NEW, "another.example")
        await until(lambda: "resolved" in str(state.status().troubles))
        assert state.status().health == "healthy"
        assert old.clients == 3
        assert (await state.rate_limits.check("api", "u")).source.value == "redis"
