"""The gateway as it is served: over TCP, against a real Redis, and stopped by signals."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.past import give_past
from tests.ports import free_port

from aragora_redis.errors import SettingsError
from aragora_redis.gateway import server
from aragora_redis.gateway.app import create_app
from aragora_redis.gateway.bounded import BoundedProtocol
from aragora_redis.gateway.server import listen, serve
from aragora_redis.policies import parse_policies
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

POLICIES = '[limits.api]\nrate = "1 per hour"\nburst = 2\n'
PROGRAM = """
from aragora_redis.gateway.server import run, run_in_loop
from aragora_redis.settings import from_env
from aragora_redis.telemetry.logs import configure_logging
configure_logging("INFO", "text")
run_in_loop(run(from_env(), on_listening=lambda url: print(url, flush=True)))
"""


@pytest.fixture
def policies(tmp_path):
    path = tmp_path / "policies.toml"
    path.write_text(POLICIES)
    return {"ARAGORA_POLICIES": str(path), "ARAGORA_KEY_PREFIX": f"t{time.time_ns()}"}


@asynccontextmanager
async def served(state):
    """A gateway over a state on a free port: its URL, and what stops it."""
    (listener,) = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(create_app(state), [listener], stop))
    try:
        yield f"http://127.0.0.1:{port}", stop
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def gateway(env, **tokens):
    """A gateway on a free port, and a client of it."""
    async with (
        served(SharedState(from_env(env))) as (url, _),
        httpx.AsyncClient(base_url=url, **tokens) as client,
    ):
        yield client


def bearer(env):
    return {"headers": {"Authorization": f"Bearer {env['ARAGORA_ADMIN_TOKEN']}"}}


async def until(condition, within=20.0):
    end = time.monotonic() + within
    while not (value := await condition()):
        assert time.monotonic() < end, f"not within {within} s"
        await asyncio.sleep(0.02)
    return value


async def ready(client):
    return (await client.get("/readyz")).status_code == 200


async def reason(client, jti):
    return (await client.post("/v1/tokens/check", json={"jti": jti})).json().get("reason")


async def test_two_gateways_share_limits_and_revocations(standalone_lab, policies):
    env = standalone_lab.env() | policies
    await asyncio.to_thread(give_past, standalone_lab, **policies)
    async with gateway(env, **bearer(env)) as one, gateway(env, **bearer(env)) as two:
        await asyncio.gather(until(lambda: ready(one)), until(lambda: ready(two)))

        statuses = [
            (await client.post("/v1/limits/api/check", json={"subject": "a"})).status_code
            for client in (one, two, one)
        ]
        assert statuses == [200, 200, 429]

        body = {"jti": "gone", "expires_at": time.time() + 60, "reason": "logout"}
        receipt = await one.post("/v1/tokens/revoke", json=body)
        assert (receipt.status_code, receipt.json()["level"]) == (200, "primary")
        assert await until(lambda: reason(two, "gone"), within=5) == "logout"

        response = await one.post("/v1/limits/api/reset", json={"subject": "a"})
        assert response.json() == {"reset": True}
        admitted = await one.post("/v1/limits/api/check", json={"subject": "a"})
        assert (admitted.status_code, admitted.json()["source"]) == (200, "redis")

        status = (await one.get("/v1/status")).json()
        assert (status["mode"], status["health"], status["tokens"]) == ("standalone", "healthy", 1)
        metrics = (await two.get("/metrics")).text
        assert 'aragora_redis_link_up{features="all",lane="fast"} 1.0' in metrics
        assert "aragora_redis_token_entries 1.0" in metrics


async def test_an_answer_is_one_write(policies, monkeypatch):
    writes = []

    class Told(BoundedProtocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            joining: Any = self.transport
            write = joining._write

            def told(data):
                writes.append(bytes(data))
                write(data)

            joining._write = told

    monkeypatch.setattr(server, "BoundedProtocol", Told)
    async with gateway(policies) as client:
        answer = await client.get("/healthz")
    (written,) = writes
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.endswith(b"\r\n\r\n" + answer.content)


@pytest.mark.parametrize("fail_open", [False, True])
async def test_without_redis_it_serves_and_says_so(policies, fail_open):
    env = policies | {
        "ARAGORA_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "ARAGORA_RATE_LIMIT_FAIL_OPEN": str(fail_open).lower(),
        "ARAGORA_EXPECTED_INSTANCES": "1",
    }
    async with gateway(env) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        refused = await client.post("/v1/tokens/check", json={"jti": "a"})
        assert (refused.status_code, refused.json()["ran"]) == (503, "no")
        assert refused.headers["Retry-After"] == "1"
        check = await client.post("/v1/limits/api/check", json={"subject": "a"})
        if fail_open:
            assert (check.status_code, check.json()["source"]) == (200, "local")
        else:
            assert check.status_code == 503
            assert check.json()["type"] == "urn:aragora-redis:limit-unavailable"
        status = (await client.get("/v1/status")).json()
        assert status["health"] == "degraded"
        assert status["staleness"] is None
        revoked = await client.post("/v1/tokens/revoke", json={"user": "42"})
        assert (revoked.status_code, revoked.json()["level"]) == (202, "local")


WAITING = '[limits.api]\nrate = "9 per 4 minutes"\nburst = 1\n'


async def test_who_waits_and_goes_away_frees_its_place_and_a_stop_answers_the_others():
    state = SharedState(from_env({}), policies=parse_policies(WAITING, source="test"))
    path, body = "/v1/limits/api/check", {"subject": "a", "wait": 30}
    async with served(state) as (url, stop), httpx.AsyncClient(base_url=url) as client:
        assert (await client.post(path, json=body)).status_code == 200
        gone = asyncio.create_task(client.post(path, json=body))
        await until(waiting(state, 1))
        gone.cancel()
        await until(waiting(state, 0))
        stays = asyncio.create_task(client.post(path, json=body))
        await until(waiting(state, 1))
        stop.set()
        async with asyncio.timeout(3):
            answer = await stays
        assert (answer.status_code, answer.json()["allowed"]) == (429, False)
        assert 1 <= int(answer.headers["Retry-After"]) <= 27
    assert not state.rate_limits._waiting._lines


def waiting(state, count):
    async def seen():
        return state.rate_limits._waiting._count == count

    return seen


async def test_a_body_without_end_is_refused_over_tcp(policies):
    async with gateway(policies) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(
            b"POST /v1/tokens/check HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        for _ in range(5):  # and no last chunk
            writer.write(chunk)
        async with asyncio.timeout(5):
            answer = await reader.read()  # to the end: the connection is closed
        writer.close()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in answer


def test_a_busy_port_is_said_in_one_line():
    (first,) = listen("127.0.0.1", 0)
    with first:
        port = first.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}: the port is in use") as caught:
            listen("127.0.0.1", port)
    assert "ARAGORA_PORT" in caught.value.remedy
    assert "\n" not in str(caught.value)


async def test_an_answer_does_not_wait_for_its_head_to_be_confirmed():
    (listener,) = listen("127.0.0.1", 0)
    accepted = asyncio.get_running_loop().create_future()
    async with await asyncio.start_server(lambda _, to: accepted.set_result(to), sock=listener):
        _, client = await asyncio.open_connection(*listener.getsockname())
        writer = await accepted
        connection = writer.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for each in (client, writer):
            each.close()


@pytest.mark.parametrize("host", ["198.51.100.1", "no..name"])
def test_a_host_that_is_not_ours(host):
    with pytest.raises(SettingsError, match="ARAGORA_HOST"):
        listen(host, 0)


@asynccontextmanager
async def running(env):
    """A gateway of its own process: that, and its URL."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env=dict(os.environ) | env | {"ARAGORA_PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(40):
            url = (await process.stdout.readline()).decode().strip()
        assert url == f"http://127.0.0.1:{port}"
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(policies, by):
    async with running(policies) as (process, url), httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/healthz")).status_code == 200  # its connection is kept open
        process.send_signal(by)
        async with asyncio.timeout(10):
            _, told = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in told


async def test_a_hangup_rereads_the_policies_and_a_mismatch_shows(
    standalone_lab, policies, tmp_path
):
    """A file is followed by its age, too, so here it keeps that: the signal alone tells."""
    env = standalone_lab.env() | policies | {"ARAGORA_REDIS_DEADLINE": "2"}
    ours, theirs = Path(policies["ARAGORA_POLICIES"]), tmp_path / "theirs.toml"
    theirs.write_text(POLICIES)

    def rewrite(text):
        before = ours.stat()
        assert len(text) == before.st_size
        ours.write_text(text)
        os.utime(ours, ns=(before.st_atime_ns, before.st_mtime_ns))

    async with (
        running(env | {"ARAGORA_POLICIES": str(theirs)}) as (other, _),
        running(env) as (process, url),
        httpx.AsyncClient(base_url=url, **bearer(env)) as client,
    ):

        async def burst():
            check = await client.post("/v1/limits/api/check", json={"subject": "a", "cost": 0})
            return check.json().get("limit")

        async def differing():
            return (await client.get("/v1/status")).json()["differing"]

        async def alike():
            status = (await client.get("/v1/status")).json()
            return (status["instances"], status["differing"]) == (2, 0)

        async def hears(line):
            assert process.stderr is not None
            async with asyncio.timeout(10):
                while line not in (said := (await process.stderr.readline()).decode()):
                    assert said, "it has ended"

        await until(alike)
        assert await burst() == 2
        rewrite(POLICIES.replace("= 2", "= x"))
        process.send_signal(signal.SIGHUP)
        await hears("line 3")
        assert await burst() == 2, "a bad file changes nothing"
        rewrite(POLICIES.replace("= 2", "= 7"))
        process.send_signal(signal.SIGHUP)
        await hears("in force")
        assert await burst() == 7
        await until(differing)
        shutil.copy(ours, theirs)
        await until(alike)
        assert (process.returncode, other.returncode) == (None, None)
