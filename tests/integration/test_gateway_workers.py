"""Several workers on one port: as one to clients, replaced when they end, stopped in order."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.integration.past import give_past
from tests.integration.test_gateway_server import bearer, until
from tests.ports import free_port

from aragora_redis.errors import SettingsError
from aragora_redis.gateway.workers import run_workers
from aragora_redis.settings import from_env

POLICIES = '[limits.api]\nrate = "1 per hour"\nburst = 2\n'
LOOK = {"subject": "a", "cost": 0}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(pid: int) -> set[int]:
    """The processes of the workers: what starts them stands between."""
    return {worker for starter in children(pid) for worker in children(starter)}


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def asked(env, method, path, **given):
    """One request on a connection of its own, so that any worker may get it."""
    async with httpx.AsyncClient(base_url=env["URL"], timeout=10, **bearer(env)) as client:
        return await client.request(method, path, **given)


async def bursts(env):
    answers = [await asked(env, "POST", "/v1/limits/api/check", json=LOOK) for _ in range(16)]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.json()["limit"] for answer in answers}


async def refused(env):
    try:
        await asked(env, "GET", "/healthz")
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return False
    return False


async def all_are_shown(env, checks):
    """Whether a worker's dashboard has the checks of all, and says so."""
    login = {"token": env["ARAGORA_ADMIN_TOKEN"]}
    cookie = (await asked(env, "POST", "/dashboard/login", data=login)).headers["set-cookie"]
    page = await asked(env, "GET", "/dashboard", headers={"Cookie": cookie.partition(";")[0]})
    assert "2 workers share this port" in page.text
    return f"<dt>checks in a minute</dt><dd>{checks}</dd>" in page.text


@asynccontextmanager
async def sent_in_part(env, path, body):
    """A request of which only the head has been sent, and what sends the rest and reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(env["URL"].rpartition(":")[2]))
    fields = bearer(env)["headers"] | {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()

    async def rest():
        writer.write(body)
        return (await reader.read()).decode()

    try:
        yield rest
    finally:
        writer.close()


@asynccontextmanager
async def service(standalone_lab, tmp_path):
    """Two workers in a process group of their own."""
    port, policies = free_port(), tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    env = standalone_lab.env() | {
        "ARAGORA_POLICIES": str(policies),
        "ARAGORA_KEY_PREFIX": "t-workers",
        "ARAGORA_REDIS_DEADLINE": "2",
        "ARAGORA_INSTANCE_ID": "gw",
        "URL": f"http://127.0.0.1:{port}",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aragora_redis", "serve", "--port", str(port), "--workers", "2"),
        env=dict(os.environ) | env,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    said = bytearray()

    async def read():
        assert process.stderr is not None
        while line := await process.stderr.readline():
            said.extend(line)

    reading = asyncio.create_task(read())

    async def hears(word, times=1):
        async def heard():
            return bytes(said).count(word) >= times

        await until(heard, within=60)

    try:
        await hears(b"listening on")
        yield env, policies, process, hears
        async with asyncio.timeout(15):
            await reading
        assert await process.wait() == 0
        assert b"Traceback" not in said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


async def test_workers_are_one_service(standalone_lab, tmp_path):
    await asyncio.to_thread(give_past, standalone_lab, ARAGORA_KEY_PREFIX="t-workers")
    async with service(standalone_lab, tmp_path) as (env, policies, process, hears):
        first = workers_of(process.pid)
        assert len(first) == 2

        async def ready():
            return (await asked(env, "GET", "/readyz")).status_code == 200

        await until(ready, within=60)
        assert await bursts(env) == {2}
        counted = (await asked(env, "GET", "/metrics")).text
        sample = (
            r'^aragora_redis_decisions_total{allowed="true",policy="api",.*worker="(\d)"} (.*)$'
        )
        counts = {who: float(n) for who, n in re.findall(sample, counted, re.MULTILINE)}
        assert sum(counts.values()) == 16
        assert set(counts) == {"0", "1"}, "connections are dealt out"
        assert counted.count("# TYPE aragora_redis_ready gauge") == 1
        await until(lambda: all_are_shown(env, 16), within=30)

        os.kill(min(first), signal.SIGKILL)
        await hears(b"has ended with code -9")
        assert await bursts(env) == {2}, "the other one serves"
        assert await ready()

        async def two():
            now = workers_of(process.pid)
            return now if len(now) == 2 and min(first) not in now else None

        assert max(first) in await until(two, within=60)
        await until(ready, within=60)

        policies.write_text(POLICIES.replace("= 2", "= 7"))
        process.send_signal(signal.SIGHUP)
        await hears(b"is in force", times=2)
        assert await bursts(env) == {7}

        workers = workers_of(process.pid)
        process.send_signal(signal.SIGTERM)
    assert not any(map(is_there, workers))


async def test_signals_to_the_whole_group_cut_nothing_off(standalone_lab, tmp_path):
    async with service(standalone_lab, tmp_path) as (env, _, process, _):
        (forkserver,) = [each for each in children(process.pid) if children(each)]
        workers = workers_of(process.pid)
        os.killpg(process.pid, signal.SIGHUP)
        assert await bursts(env) == {2}
        async with sent_in_part(env, "/v1/limits/api/check", json.dumps(LOOK).encode()) as rest:
            await bursts(env)
            os.killpg(process.pid, signal.SIGTERM)
            await until(lambda: refused(env))
            assert is_there(forkserver)
            assert (await rest()).startswith("HTTP/1.1 200")
    assert not any(map(is_there, workers))


async def test_workers_need_a_redis():
    with pytest.raises(SettingsError, match="would not know of each other"):
        await run_workers(from_env({"ARAGORA_WORKERS": "2"}))
