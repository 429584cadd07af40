"""`health`, `status` and `doctor --connect` against a real Redis Cluster, as its nodes are lost."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest
from tests.integration.rights import is_old

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.connect import ConnectReport, Step, check_ways
from aragora_redis.ops.health import check_health
from aragora_redis.ops.probe import Probe
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import ClusterTarget, target_of
from aragora_redis.settings import from_env

HEALTHY = "OK: Redis Cluster healthy (3 primaries, 3 replicas, 16384 slots)"
NOBODY = Address("127.0.0.1", 9)


def target(lab) -> ClusterTarget:
    found = target_of(from_env(lab.env()))
    assert isinstance(found, ClusterTarget)
    return found


async def until(at, status, text=""):
    async with asyncio.timeout(30):
        while True:
            report = await check_health(at)
            if report.status is status and text in report.headline:
                return report
            await asyncio.sleep(0.05)


async def ready(at, **how):
    return (await check_health(at, probe=Probe.READY, **how)).headline


async def test_a_shard_loses_its_primary_then_everything(cluster_lab):
    lab, ours = cluster_lab, target(cluster_lab)
    report = await check_health(ours)
    assert (report.headline, report.exit_code) == (HEALTHY, 0)
    assert report.facts["slots_served"] == report.facts["slots"] == 16384

    one = replace(ours, nodes=ours.nodes[4:5])
    assert (await check_health(one)).headline == HEALTHY, "the others are learned"

    was = lab.node("redis-0").address
    lab.kill("redis-0")
    report = await check_health(one)
    told = f"CRITICAL: the primary {was} of 5461 slots (0-5460) refuses connections"
    assert report.headline == told, "the nodes have not even noticed yet"
    assert "refuses connections" in await ready(one)

    report = await until(one, Status.WARNING, "has no replica that keeps up")
    assert f"node {was} refuses connections" in {each.text for each in report.findings}
    assert report.facts["slots_served"] == 16384
    assert await ready(one) == "OK: ready"

    heir = lab.node("redis-3").address
    lab.kill("redis-3")
    report = await until(one, Status.CRITICAL, f"the primary {heir}")
    assert "(0-5460) refuses connections, and no replica of it answers" in report.headline
    assert report.facts["slots_served"] == 16384 - 5461

    lab.start_node("redis-3")
    lab.start_node("redis-0")
    assert (await until(ours, Status.OK)).headline == HEALTHY


async def test_replicas_votes_and_all_are_lost(cluster_lab):
    lab, ours = cluster_lab, target(cluster_lab)
    lost = lab.node("redis-4").address
    lab.kill("redis-4")
    report = await until(ours, Status.WARNING, f"{lab.node('redis-1').address} (5461-10922) has no")
    assert f"node {lost} refuses connections" in {each.text for each in report.findings}

    for name in ("redis-1", "redis-2"):
        lab.freeze(name)
    report = await check_health(ours, deadline=0.5)
    voting = "1 of 3 primaries answers: no failover is possible (majority 2)"
    assert report.headline == f"CRITICAL: {voting}"
    assert "does not answer within 0.5 s" in str(report.findings)
    assert (await ready(ours, deadline=0.5)).startswith("CRITICAL: not ready: the primary ")
    async with asyncio.timeout(20):
        while "refuses commands (cluster_state fail)" not in str(report.findings):
            report = await check_health(ours, deadline=0.3)
    assert (await check_health(ours, probe=Probe.LIVE, deadline=0.3)).status is Status.OK

    lab.kill("all")
    report = await check_health(ours)
    assert report.headline == "CRITICAL: no node of the cluster answers (6 nodes asked)"
    assert report.exit_code == 2
    report = await check_health(ours, probe=Probe.LIVE)
    assert report.headline == "CRITICAL: not live: nothing answers"
    ways = await check_ways(ours, clock=SYSTEM_CLOCK, deadline=1)
    assert (ways.status, {way.server for way in ways.ways}) == (Status.CRITICAL, {"node"})


async def test_wrong_settings_are_named(cluster_lab, standalone_lab, connect):
    ours = target(cluster_lab)
    single = standalone_lab.node("redis-0").address

    async def said(at):
        report = await check_health(at)
        assert "wrong-secret" not in str(report.as_dict()) + repr(at)
        return report

    report = await said(replace(ours, redis=Access(password="wrong-secret")))
    assert report.status is Status.CRITICAL
    assert "refuses the password; check ARAGORA_REDIS_PASSWORD" in report.headline
    report = await said(replace(ours, redis=Access()))
    assert "requires a password; set ARAGORA_REDIS_PASSWORD" in report.headline

    report = await said(replace(ours, nodes=(*ours.nodes, NOBODY)))
    assert report.headline == f"WARNING: node {NOBODY} refuses connections"
    nowhere = Address("nobody.invalid", 6379)
    report = await said(replace(ours, nodes=(*ours.nodes, nowhere)))
    assert "cannot be resolved" in report.headline
    by_name = Address("localhost", ours.nodes[0].port)
    report = await said(replace(ours, nodes=(by_name,)))
    assert report.headline == HEALTHY, "a node that is asked by another name counts once"

    for node in cluster_lab.status().nodes:
        # Redis 6.2 forbids whole commands only.
        rights = ("+@all", "-config", "-role", *([] if is_old() else ["-cluster|info"]))
        connect(cluster_lab, node.name).execute_command(
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", *rights
        )
    assert (await said(replace(ours, redis=Access("app", "pw")))).headline == HEALTHY

    alone = ClusterTarget((single,), Access(password=standalone_lab.credentials.redis_password))
    report = await said(alone)
    assert report.status is Status.CRITICAL
    assert f"{single} is no node of a Redis Cluster" in report.headline
    assert "check ARAGORA_REDIS_CLUSTER_NODES" in report.headline
    (way,) = (await check_ways(alone, clock=SYSTEM_CLOCK, deadline=1)).ways
    assert (way.failed, way.why) == (
        Step.ROLE,
        "it is no node of a Redis Cluster (cluster-enabled no)",
    )


async def test_the_way_to_each_node(cluster_lab):
    lab, ours = cluster_lab, target(cluster_lab)

    async def ways(**changes) -> ConnectReport:
        return await check_ways(replace(ours, **changes), clock=SYSTEM_CLOCK, deadline=1)

    report = await ways(nodes=ours.nodes[:1])
    assert sorted(way.server for way in report.ways) == ["primary"] * 3 + ["replica"] * 3
    assert (report.exit_code, list(report.ways[0].taken)) == (
        0,
        [Step.DNS, Step.TCP, Step.AUTH, Step.ROLE],
    )
    report = await ways(redis=Access(password="not-it"))
    assert {way.failed for way in report.ways} == {Step.AUTH}
    assert "check ARAGORA_REDIS_PASSWORD" in str(report.ways[0])
    assert report.exit_code == 2
    lab.kill("redis-5")
    report = await ways()
    assert [way.server for way in report.ways if way.failed] == ["replica"]
    assert report.exit_code == 1


@pytest.mark.parametrize("said", [b"", b"+OK\r\n*3\r\n$1", b"$-1\r\n" * 9, b"-ERR no\r\n" * 9])
async def test_garbage_is_critical_and_no_traceback(said):
    async def babble(reader, writer):
        writer.write(said)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        at = ClusterTarget((Address(*server.sockets[0].getsockname()[:2]),))
        report = await check_health(at, deadline=0.3)
        assert report.status is Status.CRITICAL
        assert "no node of the cluster" in report.headline


def test_the_commands_on_a_cluster(cli, cluster_lab):
    lab = cluster_lab
    where = ("--lab", str(lab.directory))
    code, out, _ = cli("health", **lab.env())
    first, figures = out.splitlines()
    assert (code, first) == (0, HEALTHY)
    assert re.match(r"\| time=\S+ replicas_good=3;;;0;3 .* slots_served=16384;;;0;16384", figures)
    for probe in ("live", "ready", "startup"):
        code, out, _ = cli("health", "--probe", probe, *where)
        assert (code, out.splitlines()[0]) == (0, f"OK: {probe}")

    code, out, _ = cli("status", *where)
    assert (code, out.splitlines()[0]) == (0, "Redis Cluster: 16384 of 16384 slots served (OK)")
    assert len(re.findall(r"primary  slots \S+  offset", out)) == 3
    assert len(re.findall(r"replica  offset .*  behind \d+ bytes  lag \d s  memory", out)) == 3

    lab.kill("redis-3")
    code, out, _ = cli("status", "--json", *where)
    told = json.loads(out)
    assert (code, told["status"]) == (1, "WARNING")
    assert told["cluster"] == {"primaries": 3, "served": 16384, "slots": 16384}
    assert told["servers"][0]["slots"] == "0-5460"
    assert [each["role"] for each in told["servers"][0]["replicas"]] == ["unknown"]
    lab.kill("redis-0")
    code, out, _ = cli("status", *where)
    assert (code, out.splitlines()[0]) == (
        2,
        "Redis Cluster: 10923 of 16384 slots served (CRITICAL)",
    )
