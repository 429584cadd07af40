"""Each diagnosis of a cluster is made on nodes that have what it names; none on healthy ones."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from tests.integration.fleet import instances
from tests.integration.test_doctor import (
    ask,
    diagnosed,
    diagnoses,
    examined,
    target,
    until_none,
)

from aragora_redis.ops.access import Access
from aragora_redis.ops.report import Status

HEALTHY = "OK: nothing is wrong (6 servers, 3 of them primaries)"

CONFIGURED = [
    ("eviction", "redis-0", {"maxmemory-policy": "volatile-lru"}, Status.CRITICAL),
    ("no-maxmemory", "redis-3", {"maxmemory": "0"}, Status.WARNING),
    ("too-few-good-replicas", "redis-1", {"min-replicas-to-write": "2"}, Status.CRITICAL),
    (
        "no-max-lag",
        "redis-1",
        {"min-replicas-to-write": "1", "min-replicas-max-lag": "60"},
        Status.WARNING,
    ),
    ("masterauth-missing", "redis-2", {"masterauth": ""}, Status.CRITICAL),
    ("passwords-differ", "redis-2", {"masterauth": "another"}, Status.CRITICAL),
    ("persistence-off", "redis-4", {"appendonly": "no"}, Status.WARNING),
    ("replica-writable", "redis-4", {"replica-read-only": "no"}, Status.WARNING),
    ("idle-timeout", "redis-5", {"timeout": "30"}, Status.WARNING),
    ("full-coverage", "redis-0", {"cluster-require-full-coverage": "yes"}, Status.WARNING),
    ("node-timeout", "redis-5", {"cluster-node-timeout": "2000"}, Status.WARNING),
    (
        "replica-no-failover",
        "redis-3",
        {"cluster-replica-no-failover": "yes"},
        Status.WARNING,
    ),
]


async def test_what_a_configuration_file_gets_wrong(cluster_lab, connect):
    lab = cluster_lab
    found = await examined(lab)
    assert (found.diagnoses, found.headline) == ((), HEALTHY)
    for name, node, settings, status in CONFIGURED:
        client = connect(lab, node)
        before = {each: client.config_get(each)[each] for each in settings}
        for each, value in settings.items():
            client.config_set(each, value)
        made = await diagnoses(lab)
        assert made.keys() == {name}
        assert made[name].status is status
        for each, value in before.items():
            client.config_set(each, value)
    assert not await diagnoses(lab)

    for number in range(6):
        ask(lab, f"redis-{number}", "CONFIG", "SET", "cluster-node-timeout", 20_000)
    slow = [each for each in (await examined(lab)).diagnoses if each.name == "node-timeout"]
    assert [each.consequence.split(" after")[0] for each in slow] == [
        "slots are out of service for 20 s"
    ] * 6
    wrong = Access(password="not-the-password")
    made = await diagnoses(lab, at=replace(target(lab), redis=wrong))
    assert made.keys() == {"server-denied"}
    assert "check ARAGORA_REDIS_PASSWORD" in made["server-denied"].evidence


async def test_slots_that_are_left_open_and_nodes_that_disagree(cluster_lab):
    lab = cluster_lab
    other = ask(lab, "redis-1", "CLUSTER", "MYID").decode()
    ask(lab, "redis-0", "CLUSTER", "SETSLOT", 77, "MIGRATING", other)
    (stuck,) = (await examined(lab)).diagnoses
    assert (stuck.name, stuck.subject) == ("slot-stuck", str(lab.node("redis-0").address))
    assert stuck.evidence == "has 1 slot open, 77 (migrating)"
    ask(lab, "redis-0", *stuck.fix.rsplit(" -p ", 1)[1].split()[1:])
    assert not await diagnoses(lab)

    ask(lab, "redis-0", "CLUSTER", "DELSLOTS", 5)
    gap, apart = await diagnosed(lab, "slots-uncovered", "nodes-disagree")
    assert (gap.status, apart.status) == (Status.CRITICAL, Status.WARNING)
    assert gap.headline == "slots-uncovered: 1 slot (5) is held by nobody"
    ask(lab, "redis-0", "CLUSTER", "ADDSLOTS", 5)
    await until_none(lab)

    ask(lab, "redis-5", "CLUSTER", "RESET")
    alone, _ = await diagnosed(lab, "not-in-cluster", "primary-without-replica")
    assert alone.subject == str(lab.node("redis-5").address)


async def test_shards_that_are_lost(cluster_lab):
    lab = cluster_lab
    one = replace(target(lab), nodes=target(lab).nodes[4:5])
    gone = lab.node("redis-0").address
    lab.kill("redis-0")
    made = await diagnoses(lab, at=one)
    assert "slots-uncovered" in made
    assert made["slots-uncovered"].subject == f"the primary {gone} of 5461 slots"
    assert made["slots-uncovered"].fix.endswith("CLUSTER FAILOVER FORCE")
    await settled(lab, one, {"server-unreachable", "primary-without-replica"})

    lab.kill("redis-3")
    (found,) = await diagnosed(lab, "slots-uncovered", at=one)
    assert found.fix.startswith(f"start {lab.node('redis-3').address}, or")
    for number in (1, 2, 4, 5):
        ask(lab, f"redis-{number}", "CONFIG", "SET", "cluster-require-full-coverage", "yes")
    down, _ = await diagnosed(lab, "cluster-down", "full-coverage", at=one)
    assert (down.status, "cluster_state fail" in down.evidence) == (Status.CRITICAL, True)
    for number in (1, 2, 4, 5):
        ask(lab, f"redis-{number}", "CONFIG", "SET", "cluster-require-full-coverage", "no")

    lab.start_node("redis-3")
    lab.start_node("redis-0")
    await until_none(lab)


async def settled(lab, at, names, within=20):
    """Wait until these are found and nothing else."""
    end = time.monotonic() + within
    while (found := await diagnoses(lab, at=at)).keys() != names:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)
    return found


async def test_votes_and_all_that_are_lost(cluster_lab):
    lab = cluster_lab
    lost = lab.node("redis-4").address
    lab.kill("redis-4")
    await settled(lab, None, {"server-unreachable", "primary-without-replica"})
    found = await diagnoses(lab)
    assert found["server-unreachable"].subject == str(lost)
    assert found["primary-without-replica"].fix.startswith(f"bring {lost} back")
    for name in ("redis-1", "redis-2"):
        lab.freeze(name)
    down, covered = await diagnosed(lab, "cluster-down", "slots-uncovered", deadline=0.3)
    assert down.status is covered.status is Status.CRITICAL
    heard = "1 of 3 primaries can be heard, and 2 are needed"
    end = time.monotonic() + 15  # one of the living may be late once
    while heard not in {each.evidence for each in (await diagnoses(lab, deadline=0.3)).values()}:
        assert time.monotonic() < end
    lab.kill("all")
    found = await examined(lab)
    assert (found.exit_code, found.diagnoses[0].name) == (2, "cluster-down")


async def test_our_own_instances_are_found_wherever_their_rows_lie(cluster_lab):
    other = {"ARAGORA_DIGEST_KEY": "another-key-of-some-length", "ARAGORA_INSTANCE_ID": "the-other"}
    async with instances(cluster_lab, 2), instances(cluster_lab, 1, **other):
        (found,) = await diagnosed(cluster_lab, "digest-keys-differ")
        assert found.subject == "instances the-other"


def test_doctor_as_an_operator_runs_it(cli, cluster_lab):
    where = ("--lab", str(cluster_lab.directory))
    assert cli("doctor", *where)[:2] == (0, f"{HEALTHY}\n")
    code, out, _ = cli("doctor", "--connect", *where)
    assert (code, out.count("-> ROLE")) == (0, 6)
    cluster_lab.kill("redis-5")
    code, out, _ = cli("doctor", *where)
    assert (code, "primary-without-replica" in out, "\n  fix  " in out) == (1, True, True)
    again = f"aragora-redis lab start --all --lab {cluster_lab.directory}"
    assert out.endswith(f"- in this lab redis-5 ended; to start what did: {again}\n")
