"""A switchover: nothing acknowledged is lost, whatever becomes of who does it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError
from tests.integration.fleet import until
from tests.integration.rights import needs_redis_7
from tests.integration.test_doctor import ask, diagnosed, target, until_none

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.lab.config import MASTER_NAME
from aragora_redis.ops.access import Access
from aragora_redis.ops.failover import Phase, switch_over
from aragora_redis.ops.failover.by_sentinels import SentinelHandover
from aragora_redis.ops.report import Status

CHILD = """
import asyncio, os, signal, sys
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.failover import Phase, switch_over
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env

def die(phase):
    if phase == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(switch_over(
    target_of(from_env()), prefix="aragora", clock=SYSTEM_CLOCK, on_phase=die
))
"""


async def switched(lab, **how):
    return await switch_over(target(lab), prefix="aragora", clock=SYSTEM_CLOCK, **how)


class Writer:
    """Writes numbers to whomever the Sentinels name, with plain redis-py."""

    def __init__(self, lab):
        env = lab.env()
        hosts = [host.rsplit(":", 1) for host in env["ARAGORA_REDIS_SENTINEL_HOSTS"].split(",")]
        self._sentinel = Sentinel(
            [(host, int(port)) for host, port in hosts],
            sentinel_kwargs={"password": env["ARAGORA_REDIS_SENTINEL_PASSWORD"]},
            socket_timeout=10,
        )
        self._password = env["ARAGORA_REDIS_PASSWORD"]
        self.acknowledged: set[int] = set()
        self.longest = 0.0
        self.over = False
        """A cancellation may be lost in redis-py, so it is told to end."""

    async def run(self):
        number, last = 0, time.monotonic()
        while not self.over:
            async with self._client() as client:
                try:
                    while not self.over:
                        number += 1
                        await client.sadd("numbers", number)
                        self.acknowledged.add(number)
                        self.longest = max(self.longest, time.monotonic() - last)
                        last = time.monotonic()
                        await asyncio.sleep(0.001)
                except RedisError:
                    await asyncio.sleep(0.01)

    async def lost(self):
        async with self._client() as client:
            there = {int(number) for number in await client.smembers("numbers")}
        return self.acknowledged - there

    async def close(self):
        for client in self._sentinel.sentinels:
            await client.aclose()

    def _client(self) -> Redis:
        client: Redis = self._sentinel.master_for(MASTER_NAME, password=self._password)
        return client


@asynccontextmanager
async def writing(lab):
    writer = Writer(lab)
    task = asyncio.create_task(writer.run())
    try:
        await until(lambda: len(writer.acknowledged) > 50)
        yield writer
        count = len(writer.acknowledged)
        await until(lambda: len(writer.acknowledged) > count + 50)
        writer.over = True
        await task
        assert not await writer.lost()
    finally:
        writer.over = True
        await asyncio.gather(task, return_exceptions=True)
        await writer.close()


async def test_nothing_is_lost_and_there_and_back_again(sentinel_lab):
    lab = sentinel_lab
    async with writing(lab) as writer:
        for chosen in ("redis-2", "redis-0"):
            phases: list[Phase] = []
            report = await switched(lab, to=lab.node(chosen).address, on_phase=phases.append)
            assert report.status is Status.OK, report
            assert report.headline.endswith(", nothing acknowledged was lost")
            assert lab.primary() == chosen
            assert phases == list(Phase)
            assert set(report.as_dict()["phases"]) == set(Phase) - {Phase.PREFLIGHT}
            await until_none(lab)
    assert writer.longest < 5
    for name in ("redis-0", "redis-1", "redis-2"):
        assert ask(lab, name, "CONFIG GET", "replica-priority") == {"replica-priority": "100"}
        lines = (lab.directory / name / "redis.conf").read_text("utf-8").splitlines()
        assert "replica-priority 100" in lines


@pytest.mark.parametrize(
    "phase", [Phase.PAUSE, Phase.DRAIN, Phase.PROMOTE, Phase.DEMOTE, Phase.RESUME]
)
async def test_killed_at_any_step_it_loses_nothing_and_leaves_nobody_paused(sentinel_lab, phase):
    lab = sentinel_lab
    async with writing(lab):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, phase, env={**os.environ, **lab.env()}
        )
        assert await child.wait() == -signal.SIGKILL
        report = await switched(lab)
        assert report.status is Status.OK, report
        if phase in {Phase.DEMOTE, Phase.RESUME}:
            resumed = any("interrupted" in note for note in report.progress.notes)
            assert resumed or phase is Phase.RESUME
        await until_none(lab)


async def test_whom_too_few_sentinels_name_is_known_by_its_history(sentinel_lab, monkeypatch):
    named = SentinelHandover._wait_for_promotion

    async def unnamed(handover):
        await named(handover)
        return await handover._promoted_unnamed()

    monkeypatch.setattr(SentinelHandover, "_wait_for_promotion", unnamed)
    async with writing(sentinel_lab):
        report = await switched(sentinel_lab)
        assert report.status is Status.OK, report


@pytest.mark.parametrize("phase", [Phase.DRAIN, Phase.PROMOTE])
async def test_cancelled_it_undoes_or_ends_what_it_began(sentinel_lab, phase):
    lab = sentinel_lab
    async with writing(lab):
        reached = asyncio.Event()
        task = asyncio.create_task(
            switched(lab, on_phase=lambda now: reached.set() if now is phase else None)
        )
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (lab.primary() == "redis-0") is (phase is Phase.DRAIN)
        await until_none(lab)


async def test_it_refuses_what_would_hurt(sentinel_lab, make_lab, connect):
    lab = sentinel_lab
    mine, old = lab.node("redis-0").address, lab.primary()

    async def refused(**how):
        report = await switched(lab, **how)
        assert report.status is Status.WARNING
        assert lab.primary() == old
        return report.headline

    assert "is the primary already" in await refused(to=mine)
    assert "there are shards in a Redis Cluster only" in await refused(shard=0)
    report = await switched(lab, dry_run=True)
    assert (report.status, lab.primary()) == (Status.OK, old)
    assert "whom the Sentinels choose would take over" in report.headline
    assert "is no replica that answers" in await refused(to=Address("127.0.0.1", 1), force=True)
    connect(lab, "primary").config_set("masterauth", "")
    assert "masterauth-missing" in await refused()
    connect(lab, "primary").config_set("masterauth", lab.credentials.redis_password)
    lab.kill("sentinel-1")
    lab.kill("sentinel-2")
    assert "no-majority" in await refused()
    one = make_lab("standalone")
    one.start()
    report = await switch_over(target(one), prefix="aragora", clock=SYSTEM_CLOCK, force=True)
    assert "there are no Sentinels here" in report.headline


async def test_a_replica_that_does_not_catch_up_backs_it_out(sentinel_lab, connect):
    """Its replication is held up; writes are let go again, and redis-0 goes on."""
    lab = sentinel_lab
    for name in ("sentinel-0", "sentinel-1", "sentinel-2"):  # they replace nobody by themselves
        ask(lab, name, "SENTINEL", "SET", "aragora-master", "down-after-milliseconds", 60_000)
    lab.freeze("redis-2")
    await diagnosed(lab, "server-unreachable", deadline=0.2)
    connect(lab, "redis-1").execute_command("CLIENT", "PAUSE", 1)
    source = lab.node("redis-0").address
    # Whom it follows is right, so the Sentinels mend nothing: it is let in no more, and lacks a
    # write.
    ask(lab, "redis-1", "CONFIG", "SET", "masterauth", "wrong")
    client = connect(lab, "primary")
    client.config_set("min-replicas-to-write", 0)
    client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    assert client.set("a", "a")
    report = await switched(lab, force=True, deadline=0.3)
    assert report.status is Status.CRITICAL
    assert "did not catch up" in report.headline
    assert f"{source} goes on as primary" in report.headline
    assert client.set("a", "b")


@needs_redis_7  # rights to a subcommand can be taken away
async def test_without_the_rights_it_says_whose_to_use(sentinel_lab):
    for node in ("redis-0", "redis-1", "redis-2"):
        everything = ("on", ">pw", "~*", "&*", "+@all", "-client|pause")
        ask(sentinel_lab, node, "ACL", "SETUSER", "app", *everything)
    app = replace(target(sentinel_lab), redis=Access("app", "pw"))
    report = await switch_over(app, prefix="aragora", clock=SYSTEM_CLOCK, force=True)
    assert report.status is Status.CRITICAL
    assert "log in as one who may: ARAGORA_REDIS_USERNAME" in report.headline
    assert sentinel_lab.primary() == "redis-0"


async def test_a_frozen_primary_is_left_to_the_sentinels(sentinel_lab):
    sentinel_lab.freeze("primary")
    report = await switched(sentinel_lab, deadline=0.3)
    assert "Sentinels together replace one that is gone" in report.headline


def test_the_command(sentinel_lab):
    env = {**os.environ, **sentinel_lab.env()}
    done = subprocess.run(
        [sys.executable, "-m", "aragora_redis", "failover", "--json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done
    assert '"status": "OK"' in done.stdout
    assert sentinel_lab.primary() != "redis-0"
