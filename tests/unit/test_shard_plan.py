"""Which shard of a cluster may be handed over, to whom, and what speaks against it."""

from __future__ import annotations

import pytest
from redis.crc import key_slot
from tests.unit.cluster_words import (
    DOWN,
    FOLLOWS,
    NAMES,
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
from aragora_redis.ops.cluster_view import key_within
from aragora_redis.ops.failover.by_cluster import went_on_from
from aragora_redis.ops.failover.plan import Refusal
from aragora_redis.ops.failover.shard_plan import ShardPlan, plan_shard_switchover

NOBODY = Address("10.0.0.9", 7000)
DENIED = Failure(Fault.DENIED, "refuses the password; check ARAGORA_REDIS_PASSWORD")
NO_LINK = node(X, info={"master_link_status": "down"})
BARRED = node(X, config={"cluster-replica-no-failover": "yes"})
OPEN_SLOT = {A: node(A, said=word(A, motions=("[7->-b]",)))}


def planned(changes=None, **how):
    seen = survey(changes)
    return plan_shard_switchover(seen, seen.cluster, **how)


@pytest.mark.parametrize(
    "named", [{"shard": 0}, {"shard": 5460}, {"shard": A}, {"shard": X}, {"to": X}]
)
def test_a_shard_is_named_by_a_slot_or_any_node_of_it(named):
    assert planned(**named) == ShardPlan(old=A, new=X, slots=(range(5461),), again_after=60)


REFUSED = {
    "no shard is named": ({}, {}, "the cluster has 3 shards, and none was named"),
    "nobody's node": ({}, {"to": NOBODY}, f"{NOBODY} is no node of a shard"),
    "nobody's node with force": ({}, {"shard": NOBODY, "force": True}, "is no node of a shard"),
    "two shards": ({}, {"shard": B, "to": X}, f"{X} is no node of the shard that was named"),
    "a slot of nobody": (
        all_saying({A: row(A, slots="1-5460")}) | {A: node(A, said=word(A, slots="1-5460"))},
        {"shard": 0},
        "slot 0 is held by nobody",
    ),
    "the primary itself": ({}, {"to": A}, f"{A} is the primary already"),
    "a dead replica": ({X: DOWN}, {"to": X}, f"{X} refuses connections"),
    "no living replica": ({X: DOWN}, {"shard": A}, f"nobody can take over from {A}: {X} refuses"),
    "a replica without link": ({X: NO_LINK}, {"to": X, "force": True}, f"{X} does not keep up"),
    "a replica that is missed": (
        all_saying({X: row(X, down="fail")}) | {X: node(X)},
        {"to": X},
        f"{X} is down for most primaries",
    ),
    "a dead primary": ({A: DOWN}, {"shard": A, "force": True}, f"the primary {A} refuses"),
    "no majority": ({B: DOWN, C: DOWN}, {"shard": A}, "1 of 3 primaries can be heard, and 2"),
    "a primary that sees no cluster": (
        {A: node(A, said=word(A, state="fail"))},
        {"shard": A},
        "refuses commands (cluster_state fail); see aragora-redis doctor",
    ),
    "nobody lets us in": (dict.fromkeys(NAMES, DENIED), {"to": X}, "refuses the password"),
}


@pytest.mark.parametrize(("changes", "how", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_no_force_overcomes(changes, how, why):
    plan = planned(changes, **how)
    assert isinstance(plan, Refusal)
    assert why in plan.reasons[0]
    assert not plan.forcible


def test_a_refusal_lists_what_may_be_named():
    plan = planned()
    assert isinstance(plan, Refusal)
    assert plan.reasons[1:] == (
        f"--shard {A} (0-5460): --to {X}",
        f"--shard {B} (5461-10922): --to {Y}",
        f"--shard {C} (10923-16383): --to {Z}",
    )


RISKY = {
    "a slot in motion": (OPEN_SLOT, "slot-stuck"),
    "another shard is gone": ({B: DOWN, Y: DOWN}, "slots-uncovered"),
    "a replica that shall not": ({X: BARRED}, "cluster-replica-no-failover yes"),
    "no masterauth": ({A: node(A, config={"save": ""}, open=False)}, "masterauth-missing"),
}


@pytest.mark.parametrize(("changes", "why"), RISKY.values(), ids=RISKY.keys())
def test_what_may_be_forced(changes, why):
    plan = planned(changes, shard=A)
    assert isinstance(plan, Refusal)
    assert why in plan.reasons[0]
    assert (plan.forcible, plan.passing) == (True, False)
    assert isinstance(planned(changes, shard=A, force=True), ShardPlan)


def test_what_is_wrong_elsewhere_is_no_reason():
    assert isinstance(planned(OPEN_SLOT, shard=B), ShardPlan)
    assert isinstance(planned({Y: DOWN}, shard=A), ShardPlan)


UNHEARD = {
    "an epoch": ({Z: node(Z, said=word(Z, epoch=2))}, "nodes-disagree"),
    "by its primary, that it is a replica": (
        {A: node(A, said=word(A, rows={X: row(X, primary="c")}))},
        f"most primaries do not know yet that {X} is a replica",
    ),
    "by those who vote": (
        {at: node(at, said=word(at, rows={X: row(X, primary="-")})) for at in (B, C)},
        f"most primaries do not know yet that {X} is a replica",
    ),
}


@pytest.mark.parametrize(("changes", "why"), UNHEARD.values(), ids=UNHEARD.keys())
def test_news_that_were_not_heard_yet_are_waited_for(changes, why):
    plan = planned(changes, shard=A)
    assert isinstance(plan, Refusal)
    assert why in plan.reasons[0]
    assert plan.passing


def test_of_several_the_replica_that_has_most_takes_over(monkeypatch):
    monkeypatch.setitem(FOLLOWS, Y, A)
    ahead = {
        X: node(X, info={"slave_repl_offset": 7}),
        Y: node(Y, info={"slave_repl_offset": 9}),
    }
    plan = planned(ahead, shard=A)
    assert isinstance(plan, ShardPlan)
    assert plan.new == Y
    barred = node(Y, info={"slave_repl_offset": 9}, config={"cluster-replica-no-failover": "yes"})
    plan = planned(ahead | {Y: barred}, shard=A)
    assert isinstance(plan, ShardPlan)
    assert plan.new == X


@pytest.mark.parametrize(
    "slots", [(range(5461),), (range(16383, 16384),), (range(3), range(9, 10))]
)
def test_the_key_lies_in_the_shard_and_is_ours(slots):
    key = key_within("aragora:failover", slots)
    assert key.startswith("aragora:failover:")
    assert any(key_slot(key.encode()) in part for part in slots)


def history(before, end):
    return {"master_replid2": before, "second_repl_offset": end}


@pytest.mark.parametrize(
    ("old", "new", "proved"),
    [
        (history("a", 29), history("a", 29), True),
        (history("a", 29), history("a", 40), True),
        (history("a", 41), history("a", 40), False),
        (history("0", -1), history("a", 29), False),
        ({}, history("a", 29), False),
        (history("a", 29), {}, False),
        ({}, {}, False),
    ],
    ids=["all", "less", "more", "copied anew", "old silent", "new silent", "both silent"],
)
def test_nothing_is_lost_where_the_old_history_ends_within_the_new_one(old, new, proved):
    assert went_on_from(old, new) is proved
