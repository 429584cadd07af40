"""`doctor` and `status` as an operator runs them."""

from __future__ import annotations

import json

import pytest
from tests.integration.test_doctor import target

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.connect import Step, check_ways
from aragora_redis.ops.targets import SentinelTarget, StandaloneTarget


def test_doctor_and_status_tell_what_is_lost(cli, sentinel_lab):
    where = ("--lab", str(sentinel_lab.directory))
    assert cli("doctor", *where)[:2] == (0, "OK: nothing is wrong (3 servers, 3 Sentinels)\n")
    code, out, _ = cli("status", *where)
    first, second, *_ = out.splitlines()
    assert (code, first) == (0, f"aragora-master: {sentinel_lab.node('redis-0').address} (OK)")
    assert "  primary  offset " in second
    sentinel_lab.kill("redis-2")
    code, out, _ = cli("doctor", *where)
    assert code == 1
    assert "server-unreachable" in out
    assert "\n  fix  " in out
    code, out, _ = cli("status", *where, "--json")
    told = json.loads(out)
    assert (code, told["status"]) == (1, "WARNING")
    assert [each["role"] for each in told["servers"][0]["replicas"]].count("unknown") == 1
    code, out, _ = cli("doctor", *where, "--json")
    assert json.loads(out)["diagnoses"][0]["name"] == "server-unreachable"


@pytest.mark.parametrize("command", ["doctor", "status", "failover", "bench"])
def test_without_a_deployment_they_say_what_to_set(cli, command):
    code, out, err = cli(command)
    assert (code, out) == (1, "")
    assert "set ARAGORA_REDIS_URL" in err


async def test_the_way_to_each_server_step_by_step(sentinel_lab):
    ours = target(sentinel_lab)
    assert isinstance(ours, SentinelTarget)

    async def ways(**changes):
        given = {name: getattr(ours, name) for name in ours.__slots__} | changes
        return await check_ways(SentinelTarget(**given), clock=SYSTEM_CLOCK, deadline=1)

    report = await ways()
    assert [way.server for way in report.ways] == [*["Sentinel"] * 3, "primary", *["replica"] * 2]
    assert {tuple(way.taken) for way in report.ways} == {(Step.DNS, Step.TCP, Step.AUTH, Step.ROLE)}
    assert report.exit_code == 0
    nobody, closed = Address("nobody.invalid", 1), Address("127.0.0.1", 1)
    report = await ways(sentinels=(*ours.sentinels, nobody, closed))
    assert [way.failed for way in report.ways[3:5]] == [Step.DNS, Step.TCP]
    assert report.exit_code == 1
    report = await ways(redis=Access(password="not-it"))
    assert ({way.failed for way in report.ways[3:]}, report.exit_code) == ({Step.AUTH}, 2)
    assert "check ARAGORA_REDIS_PASSWORD" in str(report.ways[3])
    assert "not-it" not in str(report.as_dict())
    report = await ways(sentinel=Access())
    assert {way.fix for way in report.ways} == {"set ARAGORA_REDIS_SENTINEL_PASSWORD"}
    report = await ways(master_name="other")
    assert "knows no master named 'other' (it knows: aragora-master)" in report.ways[0].why
    replica = StandaloneTarget(sentinel_lab.node("redis-1").address, ours.redis)
    report = await check_ways(replica, clock=SYSTEM_CLOCK, deadline=1)
    assert (report.ways[0].failed, report.ways[0].why) == (Step.ROLE, "it is a slave")
    sentinel_lab.freeze("redis-1")
    report = await check_ways(replica, clock=SYSTEM_CLOCK, deadline=0.3)
    assert (report.ways[0].failed, report.ways[0].why) == (Step.AUTH, "no answer within 0.3 s")
    report = await ways()
    (away,) = (way for way in report.ways if way.failed)
    assert (away.server, away.address, report.exit_code) == ("replica", replica.address, 1)
