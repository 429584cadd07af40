from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import generate_latest

from aragora_redis.address import Address
from aragora_redis.ops.access import Failure, Fault
from aragora_redis.ops.performance import performance_data, registry_of
from aragora_redis.ops.probe import Probe, judge_probe
from aragora_redis.ops.report import Status
from aragora_redis.ops.verdict import (
    NodeSeen,
    SentinelSeen,
    Usage,
    count_sentinels,
    judge_node,
    judge_sentinel,
    named_primary,
)

S = [Address("10.0.0.1", 26379 + n) for n in range(3)]
P, R1, R2 = (Address("10.0.0.1", 6379 + n) for n in range(3))

SEEN = SentinelSeen(
    primary=P,
    epoch=3,
    flags=frozenset({"master"}),
    quorum=2,
    others=2,
    others_alive=2,
    replicas={R1: True, R2: True},
)
NODE = NodeSeen(
    role="master", loading=False, linked=frozenset({R1, R2}), good_replicas=2, min_replicas=1
)
DOWN = Failure(Fault.UNREACHABLE, "refuses connections")
DENIED = Failure(Fault.DENIED, "requires a password; set ARAGORA_REDIS_SENTINEL_PASSWORD")
UNKNOWN = Failure(Fault.UNKNOWN_MASTER, "knows no master named 'x'")


def seen(**changes):
    return replace(SEEN, **changes)


def flags(*names):
    return seen(flags=frozenset({"master", *names}))


def node(**changes):
    return replace(NODE, **changes)


MOVED = seen(primary=R1, epoch=4)
ONE_GOOD = seen(replicas={R1: True, R2: False})
NONE_GOOD = seen(replicas={R1: False, R2: False})
ALONE = seen(others_alive=0)

CASES = {
    "all well": ([SEEN] * 3, NODE, Status.OK, "OK: Redis HA healthy (master + 2 replicas)"),
    "one replica is all": (
        [seen(replicas={R1: True})] * 3,
        node(linked=frozenset({R1}), good_replicas=1),
        Status.OK,
        "OK: Redis HA healthy (master + 1 replica)",
    ),
    "a replica is lost": ([ONE_GOOD] * 3, NODE, Status.WARNING, "1 of 2 replicas good"),
    "one Sentinel cannot see a replica": ([SEEN, SEEN, ONE_GOOD], NODE, Status.OK, "2 replicas"),
    "a replica is linked to nobody": (
        [SEEN] * 3,
        node(linked=frozenset({R1})),
        Status.WARNING,
        "1 of 2 replicas good",
    ),
    "a replica lags": ([SEEN] * 3, node(good_replicas=1), Status.WARNING, "1 of 2"),
    "no good replica, writes refused": (
        [NONE_GOOD] * 3,
        node(linked=frozenset(), good_replicas=0),
        Status.CRITICAL,
        "refuses writes",
    ),
    "no good replica, not yet noticed by the primary": (
        [NONE_GOOD] * 3,
        NODE,
        Status.CRITICAL,
        "no good replica of 2",
    ),
    "no good replica, none needed": (
        [NONE_GOOD] * 3,
        node(linked=frozenset(), good_replicas=None, min_replicas=0),
        Status.WARNING,
        "no good replica of 2",
    ),
    "no replica at all": (
        [seen(replicas={})] * 3,
        node(linked=frozenset(), good_replicas=None),
        Status.WARNING,
        "no good replica: no automatic failover",
    ),
    "two are needed, one is good": (
        [ONE_GOOD] * 3,
        node(good_replicas=1, min_replicas=2),
        Status.CRITICAL,
        "1 good replica, and min-replicas-to-write is 2",
    ),
    "one Sentinel down": ([SEEN, SEEN, DOWN], NODE, Status.WARNING, "2 of 3 Sentinels live"),
    "two Sentinels down": ([SEEN, DOWN, DOWN], NODE, Status.CRITICAL, "1 of 3 Sentinels live"),
    "one configured, its fellows live": ([SEEN], NODE, Status.OK, "healthy"),
    "one configured, its fellows dead": ([ALONE], NODE, Status.CRITICAL, "1 of 3 Sentinels"),
    "quorum above the living": (
        [seen(quorum=3), seen(quorum=3), DOWN],
        NODE,
        Status.CRITICAL,
        "quorum 3",
    ),
    "all Sentinels down": ([DOWN] * 3, None, Status.CRITICAL, "no Sentinel answers"),
    "all Sentinels deny": (
        [DENIED] * 3,
        None,
        Status.CRITICAL,
        "set ARAGORA_REDIS_SENTINEL_PASSWORD",
    ),
    "one Sentinel denies": ([SEEN, SEEN, DENIED], NODE, Status.WARNING, "2 of 3"),
    "unknown name": ([UNKNOWN] * 3, None, Status.CRITICAL, "no Sentinel knows a master named 'x'"),
    "a name known to two": ([SEEN, SEEN, UNKNOWN], NODE, Status.WARNING, "2 of 3"),
    "primary down": ([SEEN] * 3, DOWN, Status.CRITICAL, "the primary 10.0.0.1:6379 refuses conn"),
    "primary objectively down": ([flags("s_down", "o_down")] * 3, DOWN, Status.CRITICAL, "primary"),
    "o_down though it answers us": ([flags("o_down")] * 3, NODE, Status.CRITICAL, "agree that"),
    "failing over": (
        [flags("failover_in_progress"), SEEN, SEEN],
        NODE,
        Status.CRITICAL,
        "a failover is in progress",
    ),
    "one Sentinel cut off from it": (
        [flags("s_down"), SEEN, SEEN],
        NODE,
        Status.WARNING,
        "Sentinel 10.0.0.1:26379 cannot reach",
    ),
    "most cut off from it": (
        [flags("s_down"), flags("disconnected"), SEEN],
        NODE,
        Status.CRITICAL,
        "Sentinels 10.0.0.1:26379, 10.0.0.1:26380 cannot reach",
    ),
    "primary is a replica": ([SEEN] * 3, node(role="slave"), Status.CRITICAL, "is a replica"),
    "primary loads": ([SEEN] * 3, node(loading=True), Status.CRITICAL, "still loading"),
    "one Sentinel disagrees": (
        [SEEN, SEEN, MOVED],
        NODE,
        Status.WARNING,
        "Sentinel 10.0.0.1:26381 follows another primary",
    ),
    "as many disagree as agree": ([SEEN, MOVED], NODE, Status.CRITICAL, "disagree"),
}


@pytest.mark.parametrize(("said", "primary", "status", "text"), CASES.values(), ids=CASES.keys())
def test_verdicts_with_sentinels(said, primary, status, text):
    report = judge_sentinel("x", dict(zip(S, said, strict=False)), primary)
    assert (report.status, text in report.headline) == (status, True), report
    assert report.headline.startswith(f"{status.name}: ")
    assert report.exit_code == {"OK": 0, "WARNING": 1, "CRITICAL": 2}[status.name]
    assert report.as_dict()["headline"] == report.headline


@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        (
            node(linked=frozenset(), good_replicas=None),
            Status.OK,
            "OK: Redis healthy (standalone or managed)",
        ),
        (node(role="slave"), Status.CRITICAL, "is a replica and refuses writes"),
        (node(loading=True), Status.CRITICAL, "still loading"),
        (node(good_replicas=0), Status.CRITICAL, "0 good replicas"),
        (DOWN, Status.CRITICAL, "Redis 10.0.0.1:6379 refuses connections"),
    ],
)
def test_verdicts_without_sentinels(said, status, text):
    report = judge_node(P, said)
    assert report.status is status
    assert text in report.headline


def test_the_worst_finding_is_the_headline_and_the_rest_is_kept():
    report = judge_sentinel("x", dict(zip(S, [ONE_GOOD, ONE_GOOD, DOWN], strict=True)), DOWN)
    assert report.status is Status.CRITICAL
    texts = [finding.text for finding in report.findings]
    assert texts[0].startswith("the primary")
    assert f"Sentinel {S[2]} refuses connections" in texts


def test_of_two_views_with_equal_votes_the_later_epoch_is_verified():
    assert named_primary({S[0]: SEEN, S[1]: MOVED}) == R1
    assert named_primary({S[0]: SEEN, S[1]: SEEN, S[2]: MOVED}) == P
    assert named_primary({S[0]: DOWN}) is None


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ([SEEN, SEEN, SEEN], (3, 3)),
        ([SEEN, DOWN, DOWN], (3, 1)),
        ([SEEN], (3, 3)),
        ([ALONE], (3, 1)),
        ([SEEN, DOWN], (3, 2)),
        ([seen(others=0, others_alive=0)], (1, 1)),
        ([DOWN], (1, 0)),
    ],
)
def test_living_sentinels_are_counted(said, counts):
    assert count_sentinels(dict(zip(S, said, strict=False))) == counts


@pytest.mark.parametrize(
    ("said", "primary", "live", "started", "ready"),
    [
        ([SEEN] * 3, NODE, True, True, True),
        ([ALONE, DOWN, DOWN], node(linked=frozenset()), True, True, True),  # of no redundancy
        ([SEEN] * 3, node(good_replicas=0), True, True, False),
        ([SEEN] * 3, node(role="slave"), True, True, False),
        ([SEEN] * 3, node(loading=True), True, False, False),
        ([SEEN] * 3, DOWN, True, False, False),
        ([DENIED] * 3, None, True, False, False),
        ([UNKNOWN] * 3, None, True, False, False),
        ([DOWN] * 3, None, False, False, False),
        ([], DOWN, False, False, False),
        ([], DENIED, True, False, False),
        ([], NODE, True, True, True),
    ],
)
def test_probes_ask_one_thing_each(said, primary, live, started, ready):
    answers = dict(zip(S, said, strict=False))
    reports = [judge_probe(probe, answers, primary) for probe in Probe]
    assert [report.status is Status.OK for report in reports] == [live, ready, started]
    assert {report.exit_code for report in reports} <= {0, 2}


def test_tilted_sentinels_count_as_dead():
    tilted = seen(tilted=True)
    report = judge_sentinel("m", dict(zip(S, [SEEN, SEEN, tilted], strict=True)), NODE)
    assert report.headline == "WARNING: 2 of 3 Sentinels live"
    assert any("TILT" in finding.text for finding in report.findings)
    report = judge_sentinel("m", dict(zip(S, [SEEN, tilted, tilted], strict=True)), NODE)
    assert report.headline.startswith("CRITICAL: 1 of 3 Sentinels live: no automatic failover")


def test_figures_for_nagios_and_prometheus():
    used = node(usage=Usage(lag=1, clients=12, memory=1000, max_memory=5000))
    report = judge_sentinel("m", dict(zip(S, [SEEN] * 3, strict=True)), used)
    report.facts["seconds"] = 0.25
    assert performance_data(report) == (
        "time=0.25s;;;0 replicas_good=2;;;0;2 replicas=2;;;0 sentinels_answering=3;;;0;3 "
        "sentinels=3;;;0 lag=1s;;;0 clients=12;;;0 memory=1000B;;;0;5000 max_memory=5000B;;;0"
    )
    text = generate_latest(registry_of(report)).decode()
    assert "\naragora_redis_health_status 0.0\n" in text
    assert "\naragora_redis_health_memory_bytes 1000.0\n" in text
    nobody = judge_sentinel("m", dict(zip(S, [DOWN] * 3, strict=True)), None)
    assert performance_data(nobody) == "sentinels_answering=0;;;0;3 sentinels=3;;;0"
