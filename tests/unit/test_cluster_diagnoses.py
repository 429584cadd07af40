from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs
from tests.unit.cluster_words import DOWN, A, B, C, X, Y, Z, all_saying, node, row, survey, word

from aragora_redis.address import Address
from aragora_redis.ops.access import Failure, Fault
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.report import Status

OTHER = Address("10.0.0.9", 7000)
DENIED = Failure(Fault.DENIED, "refuses the password; check ARAGORA_REDIS_PASSWORD")
NO_CLUSTER = Failure(Fault.NO_CLUSTER, "is no node of a Redis Cluster (cluster-enabled no)")
ALONE = word(A, rows=dict.fromkeys((B, C, X, Y, Z)))
USURPER = node(
    A,
    said=replace(ALONE, statement=structs.replace(ALONE.statement, node_id="stranger", claims=())),
)
BARRED = {"cluster-replica-no-failover": "yes"}


def timeouts(*each):
    return {
        at: node(at, config={"cluster-node-timeout": str(milliseconds)})
        for at, milliseconds in zip((A, B, C, X, Y, Z), each, strict=True)
    }


def missed_by(*voters, at=A, flag="fail?"):
    return {v: node(v, said=word(v, rows={at: row(at, down=flag)})) for v in voters}


CASES = {
    "all well": ({}, {}),
    "a primary is gone": ({A: DOWN}, {"slots-uncovered": (Status.CRITICAL, "FAILOVER FORCE")}),
    "and its replica": (
        {A: DOWN, X: DOWN},
        {
            "slots-uncovered": (Status.CRITICAL, f"start {A}"),
            "server-unreachable": (Status.WARNING, "start it"),
        },
    ),
    "most primaries are gone": (
        {A: DOWN, B: DOWN},
        {
            "slots-uncovered": (Status.CRITICAL, "FAILOVER TAKEOVER"),
            "cluster-down": (Status.CRITICAL, "FAILOVER TAKEOVER"),
        },
    ),
    "nobody answers": (
        dict.fromkeys((A, B, C, X, Y, Z), DOWN),
        {
            "cluster-down": (Status.CRITICAL, "doctor --connect"),
            "server-unreachable": (Status.WARNING, "start it"),
        },
    ),
    "no node is one of a cluster": (
        dict.fromkeys((A, B, C, X, Y, Z), NO_CLUSTER),
        {
            "cluster-down": (Status.CRITICAL, "ARAGORA_REDIS_CLUSTER_NODES"),
            "not-in-cluster": (Status.WARNING, "--cluster add-node"),
        },
    ),
    "everybody denies": (
        dict.fromkeys((A, B, C, X, Y, Z), DENIED),
        {"server-denied": (Status.CRITICAL, "give this program the password that the server has")},
    ),
    "most primaries deny, and may vote": (
        {A: DENIED, B: DENIED},
        {"passwords-differ": (Status.CRITICAL, "requirepass")},
    ),
    "one refuses commands": (
        {A: node(A, said=word(A, state="fail"))},
        {"cluster-down": (Status.CRITICAL, "bus ports")},
    ),
    "a replica sees no cluster": (
        {Z: node(Z, said=word(Z, state="fail"))},
        {"cluster-down": (Status.WARNING, "bus ports")},
    ),
    "a stranger is configured": (
        {OTHER: NO_CLUSTER},
        {"not-in-cluster": (Status.WARNING, f"add-node {OTHER} ")},
    ),
    "another node has a primary's address": (
        {A: USURPER},
        {
            "slots-uncovered": (Status.CRITICAL, "FAILOVER FORCE"),
            "not-in-cluster": (Status.WARNING, "take it out"),
        },
    ),
    "what a user may not ask": (
        {at: node(at, said=word(at, epoch=None)) for at in (A, B, C)},
        {},
    ),
    "no replica at all": (
        all_saying({Y: None}) | {Y: DOWN},
        {
            "primary-without-replica": (
                Status.WARNING,
                f"start {Y} again; if its host is gone: redis-cli --cluster add-node",
            ),
            "server-unreachable": (Status.WARNING, "start it"),
        },
    ),
    "no replica, and none that could be": (
        all_saying({Y: None}) | {Y: NO_CLUSTER},
        {
            "primary-without-replica": (Status.WARNING, "redis-cli --cluster add-node NEW_HOST"),
            "not-in-cluster": (Status.WARNING, f"add-node {Y} "),
        },
    ),
    "a replica that may not take over": (
        {Y: node(Y, config=BARRED)},
        {"replica-no-failover": (Status.WARNING, "cluster-replica-no-failover no")},
    ),
    "and one that is not in step either": (
        {Y: node(Y, config=BARRED, info={"master_link_status": "down"})},
        {
            "replica-no-failover": (Status.WARNING, "cluster-replica-no-failover no"),
            "primary-without-replica": (Status.WARNING, f"bring {Y} back"),
            "link-down": (Status.WARNING, "masterauth"),
        },
    ),
    "and its primary is gone": (
        {B: DOWN, Y: node(Y, config=BARRED)},
        {
            "replica-no-failover": (Status.WARNING, "cluster-replica-no-failover no"),
            "slots-uncovered": (Status.CRITICAL, f"start {B}"),
        },
    ),
    "a primary that would not take over if it were a replica": (
        {B: node(B, config=BARRED)},
        {},
    ),
    "one primary misses a node": (missed_by(B), {"node-failing": (Status.WARNING, "bus port")}),
    "most primaries miss a primary": (
        missed_by(B, C),
        {"node-failing": (Status.CRITICAL, "bus port")},
    ),
    "a replica's word about a primary": (missed_by(Z), {}),
    "an older map": (
        {Z: node(Z, said=word(Z, rows={A: row(A, slots="0-9"), B: row(B, slots="10-10922")}))},
        {"nodes-disagree": (Status.WARNING, "--cluster check")},
    ),
    "an older epoch": (
        {Z: node(Z, said=word(Z, epoch=2))},
        {"nodes-disagree": (Status.WARNING, "bus ports")},
    ),
    "one epoch for two": (
        {at: node(at, said=word(at, rows={B: row(B, epoch=1)})) for at in (A, C, X, Y, Z)}
        | {B: node(B, said=word(B, own_epoch=1))},
        {"nodes-disagree": (Status.WARNING, "BUMPEPOCH")},
    ),
    "a slot that comes and never arrives": (
        {A: node(A, said=word(A, motions=("[9000-<-b]",)))},
        {"slot-stuck": (Status.WARNING, "SETSLOT 9000 STABLE")},
    ),
    "hasty": (timeouts(*[100] * 6), {"node-timeout": (Status.WARNING, "5000")}),
    "slow": (timeouts(*[60_000] * 6), {"node-timeout": (Status.WARNING, "5000")}),
    "of two minds": (timeouts(1000, *[2000] * 5), {"node-timeout": (Status.WARNING, "on each")}),
    "coverage": (
        {A: node(A, config={"cluster-require-full-coverage": "yes"})},
        {"full-coverage": (Status.WARNING, "CONFIG SET cluster-require-full-coverage no")},
    ),
}


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES)
def test_what_is_found(changes, expected):
    found = {each.name: each for each in reversed(examine(survey(changes)).diagnoses)}
    assert found.keys() == expected.keys()
    for name, (status, fix) in expected.items():
        assert (found[name].status, fix in found[name].fix) == (status, True), found[name]
        assert found[name].consequence


def test_one_of_two_replicas_may_not_take_over():
    second = {Z: row(Z, primary="b"), C: row(C)}
    nodes = {at: node(at, said=word(at, rows=second)) for at in (A, B, C, X, Y)}
    nodes |= {Z: node(Z, said=word(Z, primary="b", rows=second))}
    nodes[Y] = replace(nodes[Y], config=BARRED)
    found = {each.name: each for each in examine(survey(nodes)).diagnoses}
    assert found["replica-no-failover"].subject == str(Y)
    assert found["replica-no-failover"].consequence == f"the place of {B} is left to {Z}"


LIMIT, ROOM = "memory limit of its container or service to 268435456", "maxmemory 134217728"


@pytest.mark.parametrize(
    ("maxmemory", "before"), [(1 << 30, []), (1 << 26, [LIMIT, ROOM])], ids=["with room", "without"]
)
def test_a_larger_backlog_leaves_the_data_its_memory(maxmemory, before):
    load = {"instantaneous_input_kbps": 500.0, "maxmemory": maxmemory}
    busy = node(A, info=load, config={"repl-backlog-size": str(1 << 20)})
    (found,) = examine(survey({A: busy})).diagnoses
    assert found.name == "backlog-small"
    steps = found.fix.split("then ")
    assert len(steps) == len(before) + 1
    for step, what in zip(steps, [*before, "repl-backlog-size 33554432, and"], strict=True):
        assert what in step


def test_many_open_slots_are_one_finding():
    motions = tuple(f"[{slot}->-b]" for slot in range(100))
    (found,) = examine(survey({A: node(A, said=word(A, motions=motions))})).diagnoses
    assert found.evidence == "has 100 slots open, 0, 1, 2, 3 ... (migrating)"
