from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from aragora_redis.address import Address
from aragora_redis.lab import Lab, State
from aragora_redis.ops.access import Access
from aragora_redis.ops.health import check_health
from aragora_redis.ops.report import HealthReport, Status
from aragora_redis.ops.targets import SentinelTarget, StandaloneTarget

NOBODY = Address("127.0.0.1", 9)


def sentinel_target(lab: Lab) -> SentinelTarget:
    env = lab.env()
    hosts = env["ARAGORA_REDIS_SENTINEL_HOSTS"].split(",")
    return SentinelTarget(
        sentinels=tuple(Address.parse(host, default_port=26379) for host in hosts),
        master_name=env["ARAGORA_REDIS_SENTINEL_MASTER"],
        redis=Access(password=env["ARAGORA_REDIS_PASSWORD"]),
        sentinel=Access(password=env["ARAGORA_REDIS_SENTINEL_PASSWORD"]),
    )


def standalone_target(lab: Lab) -> StandaloneTarget:
    return StandaloneTarget(
        lab.node("redis-0").address,
        Access(password=lab.env()["ARAGORA_REDIS_PASSWORD"]),
    )


async def until(target: SentinelTarget, status: Status, text: str = "") -> HealthReport:
    async with asyncio.timeout(30):
        while True:
            report = await check_health(target)
            if report.status is status and text in report.headline:
                return report
            await asyncio.sleep(0.05)


async def test_a_failover_from_ok_to_critical_to_warning_to_ok(sentinel_lab):
    lab, target = sentinel_lab, sentinel_target(sentinel_lab)
    report = await check_health(target)
    assert report.headline == "OK: Redis HA healthy (master + 2 replicas)"
    assert report.exit_code == 0
    assert json.loads(json.dumps(report.as_dict()))["facts"]["sentinels_answering"] == 3

    lab.kill("primary")
    report = await check_health(target)
    assert report.exit_code == 2, "the Sentinels have not even noticed yet"
    assert report.headline.startswith("CRITICAL: the primary 127.")

    await until(target, Status.WARNING, "1 of 2 replicas good")
    lab.start_node("redis-0")
    report = await until(target, Status.OK)
    assert report.headline == "OK: Redis HA healthy (master + 2 replicas)"
    assert report.facts["primary"] == str(lab.node("primary").address)


async def test_lost_replicas_are_counted_and_the_last_one_is_critical(sentinel_lab):
    lab, target = sentinel_lab, sentinel_target(sentinel_lab)
    lab.kill("redis-1")
    await until(target, Status.WARNING, "1 of 2 replicas good")
    lab.freeze("redis-2")
    await until(target, Status.CRITICAL, "refuses writes")
    lab.thaw("redis-2")
    await until(target, Status.WARNING, "1 of 2 replicas good")


async def test_a_frozen_primary_costs_the_deadline_and_is_critical(sentinel_lab):
    lab, target = sentinel_lab, sentinel_target(sentinel_lab)
    lab.freeze("primary")
    started = time.monotonic()
    report = await check_health(target, deadline=0.5)
    assert time.monotonic() - started < 3
    assert report.status is Status.CRITICAL
    assert "does not answer within 0.5 s" in report.headline


async def test_sentinels_are_needed_in_majority(sentinel_lab):
    lab, target = sentinel_lab, sentinel_target(sentinel_lab)
    lab.kill("sentinel-0")
    report = await check_health(target)
    assert report.headline == "WARNING: 2 of 3 Sentinels live"
    assert any(f"Sentinel {target.sentinels[0]} " in finding.text for finding in report.findings)
    lab.freeze("sentinel-1")
    report = await check_health(target, deadline=0.5)
    assert report.headline.startswith(
        "CRITICAL: 1 of 3 Sentinels live: no automatic failover is possible"
    )
    lab.kill("all")
    assert {node.state for node in lab.status().nodes} == {State.DEAD}
    report = await check_health(target)
    assert report.headline == "CRITICAL: no Sentinel answers (3 configured Sentinels)"


async def test_wrong_settings_are_named(sentinel_lab):
    target = sentinel_target(sentinel_lab)
    one = replace(target, sentinels=target.sentinels[:1])
    assert (await check_health(one)).status is Status.OK, "the others are vouched for"

    async def headline(**changes):
        report = await check_health(replace(target, **changes))
        assert report.status is Status.CRITICAL
        env = sentinel_lab.env()
        passwords = [env["ARAGORA_REDIS_PASSWORD"], env["ARAGORA_REDIS_SENTINEL_PASSWORD"]]
        for secret in (*passwords, "wrong-secret"):
            assert secret not in str(report.as_dict())
            assert secret not in repr(target)
        return report.headline

    wrong, none = Access(password="wrong-secret"), Access()
    assert "check ARAGORA_REDIS_SENTINEL_PASSWORD" in await headline(sentinel=wrong)
    assert "set ARAGORA_REDIS_SENTINEL_PASSWORD" in await headline(sentinel=none)
    assert "check ARAGORA_REDIS_PASSWORD" in await headline(redis=wrong)
    assert "set ARAGORA_REDIS_PASSWORD" in await headline(redis=none)
    assert "no Sentinel knows a master named 'other'" in await headline(master_name="other")

    report = await check_health(replace(target, sentinels=(*target.sentinels, NOBODY)))
    assert report.status is Status.WARNING
    assert report.headline == "WARNING: 3 of 4 Sentinels live"
    report = await check_health(
        replace(target, sentinels=(*target.sentinels, Address("nobody.invalid", 26379)))
    )
    assert any("cannot be resolved" in finding.text for finding in report.findings)


async def test_standalone(standalone_lab):
    target = standalone_target(standalone_lab)
    report = await check_health(target)
    assert (report.headline, report.exit_code) == ("OK: Redis healthy (standalone or managed)", 0)
    report = await check_health(replace(target, redis=Access()))
    assert report.exit_code == 2
    assert "set ARAGORA_REDIS_PASSWORD" in report.headline
    report = await check_health(StandaloneTarget(NOBODY))
    assert report.headline == "CRITICAL: Redis 127.0.0.1:9 refuses connections"


async def test_an_address_of_a_replica_is_critical(sentinel_lab):
    lab = sentinel_lab
    address = lab.node("redis-1").address
    access = Access(password=lab.env()["ARAGORA_REDIS_PASSWORD"])
    report = await check_health(StandaloneTarget(address, access))
    assert report.status is Status.CRITICAL
    assert "is a replica and refuses writes" in report.headline


async def test_a_user_who_may_not_ask_for_the_role_is_told_healthy_still(make_lab, connect):
    lab = make_lab("standalone")
    lab.start()
    connect(lab).execute_command("ACL", "SETUSER", "app", "on", ">pw", "+@all", "-role", "-config")
    address = lab.node("redis-0").address
    report = await check_health(StandaloneTarget(address, Access("app", "pw")))
    assert report.status is Status.OK
    connect(lab).execute_command("ACL", "SETUSER", "app", "-info")
    report = await check_health(StandaloneTarget(address, Access("app", "pw")))
    assert report.status is Status.CRITICAL
    assert "does not permit" in report.headline


@pytest.mark.parametrize("half", [b"", b"+OK\r\n*3\r\n$1"])
async def test_a_server_that_says_half_a_reply_costs_the_deadline(half):
    writers: list[asyncio.StreamWriter] = []

    async def babble(_reader, writer):
        writers.append(writer)
        writer.write(half)
        await writer.drain()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        report = await check_health(StandaloneTarget(Address("127.0.0.1", port)), deadline=0.3)
        for writer in writers:
            writer.close()
            await writer.wait_closed()
    assert "does not answer within 0.3 s" in report.headline
    assert report.status is Status.CRITICAL


async def test_memory_that_is_full(make_lab, connect):
    lab = make_lab("standalone")
    lab.start()
    client = connect(lab)
    # So large a command would be in a buffer as well, for a while.
    client.setrange("ballast", 10_000_000, "x")
    used = client.info("memory")["used_memory"]
    for part, status in ((0.9, Status.WARNING), (0.98, Status.CRITICAL)):
        client.config_set("maxmemory", int(used / part))
        found = await check_health(standalone_target(lab))
        assert found.status is status
        assert "of its maxmemory" in found.headline
