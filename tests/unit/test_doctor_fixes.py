"""What `doctor` says is to be done can be done, on the oldest server that is supported too."""

from __future__ import annotations

import socket

import pytest

from aragora_redis.address import Address
from aragora_redis.ops.access import ANYBODY, failure
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.failover.plan import Refusal, plan_switchover
from aragora_redis.ops.survey import A_MONTH, NodeSurvey, SentinelSurvey, Survey

AT, SENTINEL = Address("10.0.0.10", 6379), Address("10.0.0.20", 26379)
CLI = "redis-cli -h 10.0.0.10 -p 6379"


def fixes_of(*, info=(), config=(), lets_in=False, down_after=5000):
    node = NodeSurvey(
        role="master", source=None, info=dict(info), config=dict(config), open=lets_in
    )
    sentinel = SentinelSurvey(
        id="s",
        named=AT,
        master={
            "config-epoch": 1,
            "quorum": 1,
            "flags": "master",
            "down-after-milliseconds": down_after,
        },
        replicas=(),
        fellows=(),
        info={},
    )
    seen = Survey(master_name="m", sentinels={SENTINEL: sentinel}, nodes={AT: node}, now=0.0)
    return {each.name: each.fix for each in examine(seen).diagnoses}


def test_the_only_redis_that_is_well_is_counted_as_one():
    node = NodeSurvey(role="master", source=None, info={}, config={})
    seen = Survey(master_name=None, sentinels={}, nodes={AT: node}, now=0.0)
    found = examine(seen)
    assert found.headline == "OK: nothing is wrong (1 server, 0 Sentinels)", found.diagnoses


@pytest.mark.parametrize(
    ("failed", "fix"),
    [
        (ConnectionRefusedError(), "start it, or see what lies between"),
        (socket.gaierror(), "correct the host in the settings"),
    ],
    ids=["refused", "no-such-name"],
)
def test_where_there_is_one_redis_nobody_waits_for_another_to_be_promoted(failed, fix):
    lost = failure(failed, ANYBODY, "ARAGORA_REDIS_PASSWORD", 1.0)
    seen = Survey(master_name=None, sentinels={}, nodes={AT: lost}, now=0.0)
    found = next(each for each in examine(seen).diagnoses if each.name == "server-unreachable")
    assert found.consequence == "nothing can be written until it is back"
    assert found.fix.startswith(fix)


def test_one_command_sets_one_setting_as_redis_6_takes_no_more():
    assert fixes_of(lets_in=True)["no-password"].startswith(
        f"{CLI} CONFIG SET masterauth PASSWORD && {CLI} CONFIG SET requirepass PASSWORD, and"
    )
    config = {"min-replicas-to-write": "0", "min-replicas-max-lag": "10"}
    assert fixes_of(config=config)["no-min-replicas"].startswith(
        f"{CLI} CONFIG SET min-replicas-max-lag 3 && {CLI} CONFIG SET min-replicas-to-write 1, and"
    )


def test_more_memory_is_asked_of_the_container_before_it_is_given():
    fix = fixes_of(info={"maxmemory": 1000, "used_memory": 990})["memory-full"]
    first, then = fix.index("service to 4000"), fix.index("CONFIG SET maxmemory 2000")
    assert first < then


def test_nobody_is_told_to_let_sentinels_elect_in_the_middle_of_a_migration():
    assert (
        "SENTINEL SET m down-after-milliseconds 5000" in fixes_of(down_after=60_000)["down-after"]
    )
    fixes = fixes_of(down_after=A_MONTH)
    assert "aragora-redis migrate run" in fixes["migration-under-way"]
    assert "down-after" not in fixes
    assert not any("SENTINEL SET m down-after" in fix for fix in fixes.values())


SOURCE, REPLICA = Address("10.0.0.99", 6379), Address("10.0.0.11", 6379)
TOLD, NOT_TOLD = A_MONTH, 5000


def survey_of_a_migration(patience, *, listed):
    """The primary of the Sentinels follows the source, which has been a replica of it or not."""

    def server(source):
        role = "master" if source is None else "slave"
        return NodeSurvey(role=role, source=source, info={}, config={})

    def sentinel(number, down_after):
        return SentinelSurvey(
            id=f"s{number}",
            named=AT,
            master={
                "config-epoch": 1,
                "quorum": 2,
                "flags": "master",
                "down-after-milliseconds": down_after,
            },
            replicas=tuple(
                {
                    "ip": at.host,
                    "port": at.port,
                    "flags": "slave",
                    "slave-priority": 100,
                    "master-link-status": "ok",
                }
                for at in (REPLICA, *listed)
            ),
            fellows=(),
            info={},
        )

    nodes = {AT: server(SOURCE), REPLICA: server(AT), SOURCE: server(None)}
    return Survey(
        master_name="m",
        sentinels={
            Address("10.0.0.20", 26379 + number): sentinel(number, each)
            for number, each in enumerate(patience)
        },
        nodes={at: node for at, node in nodes.items() if at != SOURCE or listed},
        now=0.0,
    )


@pytest.mark.parametrize("listed", [(), (SOURCE,)], ids=["the source is new", "it was a replica"])
@pytest.mark.parametrize(
    "patience",
    [(TOLD, TOLD, TOLD), (TOLD, NOT_TOLD, NOT_TOLD)],
    ids=["all wait", "some are not told yet"],
)
def test_nothing_that_is_told_cuts_a_migration_short(patience, listed):
    seen = survey_of_a_migration(patience, listed=listed)
    found = examine(seen).diagnoses
    names = {each.name for each in found}
    assert {"migration-under-way", "sentinel-names-a-replica"} <= names
    assert "sentinel-settings-differ" not in names
    commands = ("REPLICAOF", "SENTINEL REMOVE", "SENTINEL SET m down-after", "SENTINEL FAILOVER")
    assert not [each.fix for each in found if any(words in each.fix for words in commands)]
    refused = plan_switchover(seen)
    assert isinstance(refused, Refusal)
    assert any("migration-under-way" in reason for reason in refused.reasons)


def test_nobody_is_told_to_follow_itself():
    seen = survey_of_a_migration((NOT_TOLD,) * 3, listed=())
    found = {each.name: each.fix for each in examine(seen).diagnoses}
    assert "SENTINEL REMOVE m" in found["sentinel-names-a-replica"]
    assert not any(f"REPLICAOF {AT.host} {AT.port}" in fix for fix in found.values())
    assert isinstance(plan_switchover(seen), Refusal)
