"""What a node of a cluster is told to do about its place, by deploy/redis/cluster-orders.awk."""

from __future__ import annotations

import subprocess
from itertools import permutations

import pytest
from tests.artefacts.files import DEPLOY
from tests.artefacts.programs import program

AWK = [str(program("busybox")), "awk"] if program("busybox") else ["awk"]
SHARES = ("0-5460", "5461-10922", "10923-16383")
HOSTS = [f"redis-{seat}" for seat in range(6)]


def row(speaker, node, *, at="", name="", flags="master", primary="-", link="connected", slots="-"):
    """What one node says of another, whose id is `idN` where its seat is N."""
    seat = node.removeprefix("id")
    seat = seat if seat.isdigit() else "-1"
    place = f"{at or f'10.0.0.{seat}'} 6379 16379 {name or f'redis-{seat}'}"
    mine = "myself," if speaker == int(seat) else ""
    return f"{speaker} {node} {place} {mine}{flags} {primary} {link} {slots}"


def view(speaker, changed=()):
    """A whole cluster, as one of its nodes says; `changed` has other rows of some, or None."""
    rows = {}
    for seat in range(6):
        primary = "-" if seat < 3 else f"id{seat - 3}"
        flags, slots = ("master", SHARES[seat]) if seat < 3 else ("slave", "-")
        rows[f"id{seat}"] = row(speaker, f"id{seat}", flags=flags, primary=primary, slots=slots)
    return [each for each in (rows | dict(changed)).values() if each]


def new(speaker, name="new"):
    """A node without a past, at the place of another."""
    told = f"redis-{speaker}"
    return f"{speaker} {name} 10.0.0.{speaker} 6379 16379 {told} myself,master - connected -"


def orders(seat, *views, patient=1):
    rows = [line for each in views for line in ([each] if isinstance(each, str) else each)]
    done = subprocess.run(
        [
            *AWK,
            *("-v", f"seat={seat}", "-v", f"peers={' '.join(HOSTS)}", "-v", "primaries=3"),
            *("-v", f"patient={patient}", "-f", str(DEPLOY / "redis" / "cluster-orders.awk")),
        ],
        input="\n".join(rows) + "\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_in_a_cluster_that_is_whole_nothing_is_to_be_done_but_to_let_replicas_in():
    for seat in range(6):
        assert orders(seat, *map(view, range(6))) == ["open"]


def test_slots_are_taken_at_the_first_start_alone_and_by_the_first_nodes_alone():
    everybody = [new(seat, f"id{seat}") for seat in range(6)]
    assert orders(1, everybody)[:2] == ["SET-CONFIG-EPOCH 2", "ADDSLOTSRANGE 5461 10922"]
    assert not [each for each in orders(4, everybody) if "SLOTS" in each or "REPLICATE" in each]
    # One that is late may have all the data.
    assert "not all nodes are there" in orders(1, everybody[:5])[0]
    # Interrupted: some have theirs.
    some = [*everybody[1:], row(0, "id0", slots=SHARES[0])]
    assert "ADDSLOTSRANGE 10923 16383" in orders(2, some)
    assert not [each for each in orders(0, some) if "SLOTS" in each]


@pytest.mark.parametrize("known", ["connected", "disconnected"])
def test_slots_that_anybody_knows_a_holder_of_are_not_taken_again(known):
    views = [
        view(seat, {"id1": row(seat, "id1", slots=SHARES[1], link=known)}) for seat in (0, 2, 5)
    ]
    said = orders(1, new(1), *views, new(3, "other"), view(4))
    assert not [each for each in said if "SLOTS" in each]


def test_two_clusters_are_not_made_one():
    foreign = [line.replace("id", "xx") for line in view(3)]
    mine = [line for line in view(0) if "id3" not in line]
    said = orders(0, mine, foreign)
    assert not [each for each in said if each.startswith("MEET")]
    assert "belongs to another cluster" in said[0]
    named = row(3, "id3", name="somebody-else")
    assert "calls itself somebody-else" in orders(0, mine, named)[0]


def test_who_has_moved_is_met_where_it_is_now():
    moved = view(3, {"id3": row(3, "id3", flags="slave", primary="id0", at="10.0.9.9")})
    assert "MEET 10.0.9.9 6379 16379" in orders(0, view(0), moved)


def failed(speaker, **change):
    told = {"slots": SHARES[0], "flags": "master,fail", "link": "disconnected"} | change
    return row(speaker, "id0", **told)


def test_a_node_that_lost_its_name_waits_until_its_replica_leads_and_follows_it():
    before = [view(seat, {"id0": failed(seat)}) for seat in range(1, 6)]
    waits = orders(0, new(0), view(0, {"id0": None}), *before)
    assert "say waiting: a primary is being replaced" in waits
    assert "open" not in waits, "its replica would copy the emptiness"
    assert "FAILOVER FORCE" in orders(3, new(0), *before)
    assert "FAILOVER FORCE" not in orders(4, new(0), *before)

    heir = {"id3": row(0, "id3", slots=SHARES[0]), "id0": None}
    after = [
        view(s, {"id0": failed(s, slots="-"), "id3": row(s, "id3", slots=SHARES[0])})
        for s in range(1, 6)
    ]
    assert "REPLICATE id3" in orders(0, new(0), view(0, heir), *after)
    met = {"new": "1 new 10.0.0.0 6379 16379 redis-0 slave id3 connected -"}
    assert "FORGET id0" in orders(1, after[0], met.values())
    assert not [each for each in orders(1, *before) if each.startswith("FORGET")]


def test_what_a_whole_shard_held_is_given_up_by_hand_alone():
    lost = [
        view(s, {"id0": failed(s), "id3": row(s, "id3", flags="slave,fail", primary="id0")})
        for s in (1, 2, 4, 5)
    ]
    (said,) = (o for o in orders(0, new(0), new(3, "other"), *lost) if "MEET" not in o)
    assert "CLUSTER FORGET id0 at every node" in said
    held = dict(enumerate(SHARES))
    known = [row(3, f"id{n}", slots=held.get(n, "-")) for n in (1, 2, 4, 5)]
    assert "REPLICATE id1" in orders(3, new(3, "other"), known, new(0), *lost)
    forgotten = [
        view(s, {"id0": None, "id3": row(s, "other", at="10.0.0.3", name="redis-3")})
        for s in (1, 2, 4, 5)
    ]
    assert "ADDSLOTSRANGE 0 5460" in orders(0, new(0), new(3, "other"), *forgotten)


def test_nobody_copies_from_a_node_that_is_mistaken_for_another():
    # 5 follows 2, and knows it by the address that 4 has now.
    mistaken = view(5, {"id2": row(5, "id2", slots=SHARES[2], at="10.0.0.4")})
    assert "open" not in orders(4, *map(view, range(5)), mistaken)
    unsure = view(5, {"id2": row(5, "id2", slots=SHARES[2], link="disconnected")})
    assert "open" not in orders(4, *map(view, range(5)), unsure)
    assert "open" in orders(4, *map(view, range(5)), unsure, patient=0)


def test_a_replica_chooses_when_it_knows_all_primaries():
    for lacking in (None, row(4, "id2")):
        mine = view(4, {"id4": row(4, "id4"), "id2": lacking})
        (said,) = (each for each in orders(4, mine, *map(view, (0, 1, 2))) if "say" in each)
        assert "not all slots have a holder that this node knows" in said


def test_one_of_two_replicas_goes_to_a_primary_that_has_none():
    def told(speaker):
        return view(speaker, {"id4": row(speaker, "id4", flags="slave", primary="id0")})

    # The one that shares no machine with it, else the last.
    assert "REPLICATE id1" in orders(4, *map(told, range(6)))
    assert "REPLICATE id1" not in orders(3, *map(told, range(6)))
    machines = [f"{seat} machine {'xbcdbe'[seat]}" for seat in range(6)]
    assert "REPLICATE id1" in orders(3, machines, *map(told, range(6)))
    assert "REPLICATE id1" not in orders(4, machines, *map(told, range(6)))


def test_no_shard_is_on_one_machine_where_that_can_be():
    """With two nodes on each of three machines, whichever the scheduler has put together."""
    for machines in permutations("abc"):
        placed = ["abc"[seat] if seat < 3 else machines[seat - 3] for seat in range(6)]
        told = [f"{seat} machine {machine}" for seat, machine in enumerate(placed)]
        chosen = {}
        for seat in (3, 4, 5):
            mine = {
                f"id{n}": row(seat, f"id{n}", slots=SHARES[n] if n < 3 else "-") for n in range(6)
            }
            waits = orders(seat, told[1:], view(seat, mine))
            assert "say waiting: not all nodes say on which machine they are" in waits
            (order,) = (o for o in orders(seat, told, view(seat, mine)) if "REPLICATE" in o)
            chosen[seat] = int(order[-1])
        assert sorted(chosen.values()) == [0, 1, 2]
        assert all(placed[seat] != placed[primary] for seat, primary in chosen.items())
