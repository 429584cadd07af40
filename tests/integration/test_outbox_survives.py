"""Revocations that outlive all who knew of them, on real processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time

import pytest
from tests.integration.fleet import instances, until

from aragora_redis import Level

PROGRAM = """
import asyncio, sys, time
from aragora_redis import SharedState

async def main():
    async with SharedState.from_env() as state:
        print("ready", flush=True)
        for line in iter(sys.stdin.readline, ""):
            receipt = await state.tokens.revoke(
                line.strip(), expires_at=time.time() + 3600, reason="why", within=0.3)
            print(receipt.level.word, receipt.outbox, flush=True)

asyncio.run(main())
"""


class Process:
    """An instance in a process of its own."""

    def __init__(self, process):
        self._process = process

    async def revoke(self, jti):
        self._process.stdin.write(f"{jti}\n".encode())
        return await self._said()

    async def _said(self):
        return (await asyncio.wait_for(self._process.stdout.readline(), 20)).decode().split()

    async def kill(self):
        self._process.kill()
        await self._process.wait()


@pytest.fixture
async def start():
    started = []

    async def make(lab, **env):
        environ = {k: v for k, v in os.environ.items() if not k.startswith("ARAGORA_")}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, env=environ | lab.env() | env, stdin=pipe, stdout=pipe
        )
        made = Process(process)
        started.append(made)
        assert await made._said() == ["ready"]
        return made

    yield make
    for made in started:
        if made._process.returncode is None:
            await made.kill()


async def test_i1_all_instances_killed_while_all_of_redis_is_away_and_comes_back_empty(
    sentinel_lab, start, tmp_path
):
    lab, kept = sentinel_lab, {"ARAGORA_TOKENS_OUTBOX": str(tmp_path / "outbox")}
    async with instances(lab, 1):  # gives the lab its past
        one, two = await asyncio.gather(start(lab, **kept), start(lab, **kept))
    assert (await one.revoke("before"))[1] == "disk"
    await asyncio.to_thread(lab.kill, "all")
    assert await one.revoke("gone") == ["local", "disk"]
    await one.kill()
    assert await two.revoke("too") == ["local", "disk"]
    await two.kill()
    with (tmp_path / "outbox" / "torn.outbox").open("wb") as torn:
        torn.write(b'{"day":1,"memb')
    (tmp_path / "outbox" / "torn.outbox").chmod(0o600)
    await asyncio.to_thread(lab.start_all, wipe=True)
    async with instances(lab, 1, **kept) as (heir,):
        claims = [{"jti": jti} for jti in ("before", "gone", "too")]
        assert all(heir.tokens.is_revoked(each) for each in claims)
        await until(lambda: heir.tokens.outbox_depth == 0)
        async with instances(lab, 1) as (fresh,):
            assert all(fresh.tokens.is_revoked(each) for each in claims)
            assert await fresh.tokens.reason({"jti": "gone"}) == "why"


async def test_a_directory_that_vanishes_costs_the_disk_and_nothing_else(standalone_lab, tmp_path):
    outbox = tmp_path / "parent" / "outbox"
    outbox.parent.mkdir()
    env = {"ARAGORA_TOKENS_OUTBOX": str(outbox), "ARAGORA_KEY_PREFIX": "vanishing"}
    async with instances(standalone_lab, 1, **env) as (state,):
        one = await state.tokens.revoke("one", expires_at=time.time() + 60)
        assert (one.level, one.outbox) == (Level.PRIMARY, "disk")
        shutil.rmtree(outbox.parent)
        two = await state.tokens.revoke("two", expires_at=time.time() + 60)
        assert (two.level, two.outbox) == (Level.PRIMARY, "memory")
        assert "outbox" in state.status().troubles
        outbox.parent.mkdir()
        await until(lambda: "outbox" not in state.status().troubles)
        three = await state.tokens.revoke("three", expires_at=time.time() + 60)
        assert three.outbox == "disk"
    async with instances(standalone_lab, 1, **env) as (state,):
        assert all(state.tokens.is_revoked({"jti": jti}) for jti in ("one", "two", "three"))
