from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.cluster_words import (
    DOWN,
    A,
    B,
    C,
    X,
    Y,
    Z,
    all_saying,
    node,
    row,
    survey,
    word,
)

from aragora_redis.address import Address
from aragora_redis.ops.access import Failure, Fault
from aragora_redis.ops.cluster_verdict import judge_cluster, judge_cluster_probe
from aragora_redis.ops.overview import overview_of
from aragora_redis.ops.performance import performance_data
from aragora_redis.ops.probe import Probe
from aragora_redis.ops.report import Status
from aragora_redis.topology.nodes import read_nodes

DENIED = Failure(Fault.DENIED, "refuses the password; check ARAGORA_REDIS_PASSWORD")
OTHER = Address("10.0.0.9", 7000)


def judged(seen):
    return judge_cluster(seen, seen.cluster)


def behind(lag):
    return {"slave0": {"ip": X.host, "port": X.port, "state": "online", "offset": 1, "lag": lag}}


FAIL, PFAIL = "fail", "fail?"
LOST = all_saying({A: row(A, down=FAIL)}) | {A: DOWN}

CASES = {
    "all well": ({}, Status.OK, "Redis Cluster healthy (3 primaries, 3 replicas, 16384 slots)"),
    "a primary is gone": ({A: DOWN}, Status.CRITICAL, "of 5461 slots (0-5460) refuses connections"),
    "and its replica too": ({A: DOWN, X: DOWN}, Status.CRITICAL, "and no replica of it answers"),
    "all call it down": (LOST, Status.CRITICAL, f"the primary {A} of 5461 slots"),
    "it answers us, and most call it down": (
        {at: node(at, said=word(at, rows={A: row(A, down=FAIL)})) for at in (B, C)},
        Status.CRITICAL,
        "is down for most primaries",
    ),
    "one calls it down": (
        {B: node(B, said=word(B, rows={A: row(A, down=PFAIL)}))},
        Status.WARNING,
        f"node {A} answers, and 1 of 3 primaries calls it down",
    ),
    "only a replica calls it down": (
        {Z: node(Z, said=word(Z, rows={A: row(A, down=PFAIL)}))},
        Status.OK,
        "healthy",
    ),
    "slots are nobody's": (
        {at: node(at, said=word(at, rows={A: row(A, slots="0-5459")})) for at in (B, C, X, Y, Z)}
        | {A: node(A, said=word(A, slots="0-5459"))},
        Status.CRITICAL,
        "1 slot is held by nobody (5460)",
    ),
    "no majority": ({A: DOWN, B: DOWN}, Status.CRITICAL, "1 of 3 primaries answers: no failover"),
    "a primary refuses commands": (
        {C: node(C, said=word(C, state="fail"))},
        Status.CRITICAL,
        "refuses commands (cluster_state fail)",
    ),
    "a replica alone sees no cluster": (
        {Z: node(Z, said=word(Z, state="fail"))},
        Status.WARNING,
        f"node {Z}: the cluster does not work as seen from there",
    ),
    "a replica is gone": ({Y: DOWN}, Status.WARNING, f"{B} (5461-10922) has no replica that keeps"),
    "a replica has no link": (
        {Y: node(Y, info={"master_link_status": "down"})},
        Status.WARNING,
        "has no replica that keeps up, of 1",
    ),
    "a replica lags": ({A: node(A, info=behind(9))}, Status.WARNING, "no replica that keeps up"),
    "most primaries miss a replica that answers us": (
        {at: node(at, said=word(at, rows={X: row(X, down=FAIL)})) for at in (B, C)},
        Status.WARNING,
        f"the primary {A} (0-5460) has no replica that keeps up",
    ),
    "an old view": (
        {Z: node(Z, said=word(Z, rows={A: row(A, slots="0-99"), B: row(B, slots="100-10922")}))},
        Status.WARNING,
        f"node {Z} disagrees with the others about who holds a slot",
    ),
    "memory is nearly full": (
        {A: node(A, info={"used_memory": 90})},
        Status.WARNING,
        "uses 90% of its maxmemory",
    ),
    "writes are refused": (
        {A: node(A, info={"min_slaves_good_slaves": 0}, config={"min-replicas-to-write": "1"})},
        Status.CRITICAL,
        "refuses writes: 0 good replicas",
    ),
    "a seed is no cluster": (
        {OTHER: Failure(Fault.NO_CLUSTER, "is no node of a Redis Cluster")},
        Status.WARNING,
        f"node {OTHER} is no node of a Redis Cluster",
    ),
    "everybody denies": (
        dict.fromkeys((A, B, C, X, Y, Z), DENIED),
        Status.CRITICAL,
        "refuses the password; check ARAGORA_REDIS_PASSWORD",
    ),
    "nobody answers": (
        dict.fromkeys((A, B, C, X, Y, Z), DOWN),
        Status.CRITICAL,
        "no node of the cluster answers (6 nodes asked)",
    ),
}


@pytest.mark.parametrize(("changes", "status", "text"), CASES.values(), ids=CASES)
def test_the_verdict(changes, status, text):
    found = judged(survey(changes))
    assert (found.status, text in found.headline) == (status, True), found.findings


def test_an_old_primary_that_still_speaks_for_itself_is_not_believed():
    heir = "x 10.0.0.1:7003@17000 master - 0 0 4 connected 0-5460"
    new = {A: row(A, slots=""), X: heir}
    changes = {at: node(at, said=word(at, rows=new)) for at in (B, C, Y, Z)}
    seen = survey(changes | {A: node(A), X: DOWN})
    assert [holder.address for holder in seen.cluster.holders] == [X, B, C]
    assert A in seen.cluster.dissenters
    assert f"the primary {X} of 5461 slots (0-5460)" in judged(seen).headline


def test_a_node_of_another_cluster_is_left_out():
    """As after CLUSTER RESET: it has forgotten the others, and they still list it."""
    nobody = dict.fromkeys((A, B, C, X, Y))
    seen = survey({Z: node(Z, said=word(Z, rows=nobody, state="fail"))})
    assert seen.cluster.strangers == (Z,)
    texts = [finding.text for finding in judged(seen).findings]
    assert f"node {Z} does not belong to the cluster that the others make up" in texts
    (drawn,) = overview_of(seen).servers[2].replicas
    assert drawn.trouble == "does not belong to the cluster of the others"


def test_a_replica_knows_best_whom_it_follows():
    moved = row(Z).replace(" c 0 0 3 ", " a 0 0 1 ").replace(" slave ", " myself,slave ")
    rows = {at: row(at) for at in (A, B, C, X, Y)}
    said = read_nodes("\n".join([*rows.values(), moved]), asked=Z, asked_at=0.0, by_name=False)
    seen = survey({Z: node(Z, said=replace(word(Z), statement=said))})
    assert [holder.replicas for holder in seen.cluster.holders] == [(X, Z), (Y,), ()]


def test_figures():
    found = judged(survey({A: DOWN, B: node(B, info={"used_memory": 50})}))
    assert performance_data(found) == (
        "replicas_good=3;;;0;3 replicas=3;;;0 primaries_serving=2;;;0;3 primaries=3;;;0 "
        "slots_served=10923;;;0;16384 slots=16384;;;0 lag=0s;;;0 clients=4;;;0 "
        "memory=50B;;;0;100 max_memory=100B;;;0"
    )


LOADING = Failure(Fault.REFUSED, "is still loading its data")
PROBES = {
    "all well": ({}, set()),
    "a primary is gone": ({A: DOWN}, {Probe.READY, Probe.STARTUP}),
    "one loads": ({A: LOADING}, {Probe.READY, Probe.STARTUP}),
    "a replica is gone": ({X: DOWN}, set()),
    "one is cut off": ({A: node(A, said=word(A, state="fail"))}, {Probe.READY}),
    "all load": (dict.fromkeys((A, B, C, X, Y, Z), LOADING), {Probe.READY, Probe.STARTUP}),
    "nobody answers": (dict.fromkeys((A, B, C, X, Y, Z), DOWN), set(Probe)),
    "writes are refused": (
        {A: node(A, info={"min_slaves_good_slaves": 0}, config={"min-replicas-to-write": "1"})},
        {Probe.READY},
    ),
}


@pytest.mark.parametrize(("changes", "not_so"), PROBES.values(), ids=PROBES)
def test_the_probes(changes, not_so):
    seen = survey(changes)
    said = {each: judge_cluster_probe(each, seen, seen.cluster).status for each in Probe}
    assert {each for each, status in said.items() if status is Status.CRITICAL} == not_so


def test_the_tree():
    drawn = overview_of(survey({Y: DOWN}))
    assert (drawn.servers[0].address, drawn.servers[0].slots) == (str(A), "0-5460")
    assert [r.role for s in drawn.servers for r in s.replicas] == ["replica", "unknown", "replica"]
    assert drawn.status is Status.WARNING
    assert overview_of(survey()).status is Status.OK
    assert overview_of(survey({A: DOWN})).status is Status.CRITICAL
