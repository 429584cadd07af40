"""Several workers on one port: as one to clients, replaced when they end, stopped in order."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
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


async def test_workers_are_one_service(standalone_lab, tmp_path):  # noqa: PLR0915 - one start
    port, policies = free_port(), tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    env = standalone_lab.env() | {
        "ARAGORA_POLICIES": str(policies),
        "ARAGORA_KEY_PREFIX": "t-workers",
        "ARAGORA_REDIS_DEADLINE": "2",
        "ARAGORA_INSTANCE_ID": "gw",
        "URL": f"http://127.0.0.1:{port}",
    }
    await asyncio.to_thread(give_past, standalone_lab, ARAGORA_KEY_PREFIX="t-workers")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aragora_redis", "serve", "--port", str(port), "--workers", "2"),
        env=dict(os.environ) | env,
        stderr=asyncio.subprocess.PIPE,
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

        os.kill(min(first), signal.SIGKILL)
        await hears(b"has ended with code -9")
        assert await bursts(env) == {2}, "the other one serves"

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
        async with asyncio.timeout(15):
            await reading
        assert await process.wait() == 0
        assert not any(map(is_there, workers))
        assert b"Traceback" not in said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


async def test_workers_need_a_redis():
    with pytest.raises(SettingsError, match="would not know of each other"):
        await run_workers(from_env({"ARAGORA_WORKERS": "2"}))
