"""Services that forbid what Redis offers: everything works that can, and what is lost is said."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time

import pytest
import redis
from tests.integration.fleet import until
from tests.ports import free_port

from aragora_redis import Level, SharedState
from aragora_redis.errors import CircuitOpenError
from aragora_redis.lab.server import find_server
from aragora_redis.scripts.catalog import all_scripts


class Service:
    """A redis-server without some commands, on a port of its own."""

    def __init__(self, directory):
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.lines: tuple[str, ...] = ()

    def start(self, *lines):
        self.lines = lines or self.lines
        config = self._directory / "redis.conf"
        settings = (f"port {self.port}", "bind 127.0.0.1", 'save ""', f'dir "{self._directory}"')
        config.write_text("\n".join((*settings, *self.lines)) + "\n")
        self._process = subprocess.Popen(
            [find_server().path, config], stdout=subprocess.DEVNULL, cwd=self._directory
        )
        end = time.monotonic() + 10
        while True:
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < end
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)

    def client(self, password=None):
        return redis.Redis(port=self.port, password=password)

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def state(self, password=""):
        return SharedState.from_env(
            {
                "ARAGORA_REDIS_URL": f"redis://:{password}@127.0.0.1:{self.port}",
                "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
                "ARAGORA_REDIS_DEADLINE": "1",
            }
        )


@pytest.fixture
def service(tmp_path, monkeypatch):
    # Nothing here has lived for long, and nobody is waited for.
    monkeypatch.setattr("aragora_redis.state.revocations.feed.BOOTSTRAP_AGE", 0.5)
    made = Service(tmp_path)
    yield made
    made.stop()


def without(*commands):
    return tuple(f'rename-command {each} ""' for each in commands)


async def use_everything(state, other):
    """Each of the four, from one instance to another."""
    soon = time.time() + 60
    limits = await asyncio.gather(
        *(state.rate_limits.check("api", f"u{number}") for number in range(40))
    )
    assert {each.source.value for each in limits} == {"redis"}
    receipt = await state.tokens.revoke("a-token", expires_at=soon)
    assert receipt.level is Level.PRIMARY
    await state.tokens.revoke_user("a-user")
    await until(lambda: other.tokens.is_revoked({"jti": "a-token", "exp": soon}), 5)
    session = await state.sessions.create(user="42", data={"theme": "dark"})
    assert (await other.sessions.get(session.id)).data == {"theme": "dark"}
    await state.sessions.end(session.id)
    await state.circuits.force("upstream", "open", reason="a test")
    with pytest.raises(CircuitOpenError):
        await enter(state.circuits["upstream"])
    await until_open(other)


async def enter(circuit):
    async with circuit:
        pass


async def until_open(state):
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            await enter(state.circuits["upstream"])
        except CircuitOpenError:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the circuit is not open on the other instance")


@pytest.mark.parametrize(
    ("lines", "lacks"),
    [
        pytest.param(without("ROLE", "CLIENT"), (), id="no ROLE, no CLIENT"),
        pytest.param(without("ROLE", "INFO"), ("neither ROLE", "no replication id"), id="no INFO"),
        pytest.param(without("PUBLISH"), ("nothing can be published",), id="no PUBLISH"),
        pytest.param(without("SUBSCRIBE"), ("nothing can be published",), id="no SUBSCRIBE"),
        pytest.param(("cluster-enabled yes",), (), id="one slot a call"),
    ],
)
async def test_what_a_service_forbids_is_said_and_the_rest_works(service, lines, lacks):
    service.start(*lines)
    if "cluster-enabled yes" in lines:
        with service.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            await until(lambda: client.cluster("info")["cluster_state"] == "ok")
    async with service.state() as state, service.state() as other:
        said = state.status().lacks
        assert [each[: len(start)] for each, start in zip(said, lacks, strict=True)] == list(lacks)
        await use_everything(state, other)
        assert state.status().health == "healthy"


@pytest.mark.parametrize("command", ["TIME", "SCRIPT", "EVALSHA"])
async def test_without_what_everything_needs_one_line_says_so(service, command):
    service.start(*without(command))
    state = service.state()
    state.start()
    try:
        await until(lambda: f"does not offer {command}" in str(state.status().reason))
        assert "choose a service that offers it" in str(state.status().reason)
    finally:
        await state.close()


async def test_scripts_are_loaded_once_and_not_with_each_connection(service):
    """All of them are 130 kB, and after a failover a whole fleet connects at once."""

    def loads():
        with service.client() as client:
            return client.info("commandstats")["cmdstat_script|load"]["calls"]

    service.start()
    async with service.state():
        loaded = loads()
        assert loaded >= len(all_scripts())
        async with service.state() as other:
            assert other.status().health == "healthy"
            assert loads() == loaded


async def test_who_may_not_ask_for_scripts_loads_them(service):
    service.start("user default on nopass ~* &* +@all -script|exists")
    async with service.state() as state, service.state() as other:
        await use_everything(state, other)
        assert state.status().lacks == ()


async def test_i1_a_rollback_that_no_replication_id_tells_is_found_by_comparing(service, tmp_path):
    """Even where the new history has outgrown the old one before anybody looked."""
    lines = without("ROLE", "INFO")
    service.start(*lines)
    soon = time.time() + 600
    lost = [{"jti": f"lost-{number}", "exp": soon} for number in range(20)]
    async with service.state() as state:
        await state.tokens.revoke("before", expires_at=soon)
        with service.client() as client:
            client.save()
        kept = shutil.copy(tmp_path / "dump.rdb", tmp_path / "kept")
        for claims in lost:
            await state.tokens.revoke(claims["jti"], expires_at=soon)
        service.stop()
        shutil.copy(kept, tmp_path / "dump.rdb")
        service.start(*lines, "requirepass another")
        async with service.state("another") as overtaking:
            for number in range(200):
                await overtaking.tokens.revoke(f"new-{number}", expires_at=soon)
            assert not any(overtaking.tokens.is_revoked(claims) for claims in lost)
            with service.client("another") as client:
                client.config_set("requirepass", "")
            await until(lambda: state.status().health == "healthy")
            await until(lambda: all(overtaking.tokens.is_revoked(claims) for claims in lost), 5)
        async with service.state() as fresh:
            assert all(fresh.tokens.is_revoked(claims) for claims in lost)
