"""What the provider of a managed service decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec.structs import replace as replaced

from aragora_redis.errors import LabError
from aragora_redis.lab.provider.decide import (
    Elect,
    Follow,
    HandOver,
    Point,
    Promote,
    Refuse,
    Rules,
    SetPasswords,
    Succeed,
    Wishes,
    decide,
)
from aragora_redis.lab.provider.look import Answer, Known, read_answer
from aragora_redis.lab.provider.records import Order, Record
from aragora_redis.lab.server import Server
from aragora_redis.lab.service import FORBIDDEN, forbid

RULES = Rules(down_after=1.0, name_delay=0.5)
TAKEN = frozenset({"digest"})
PRIMARY = Answer(is_primary=True, follows=None, link_lost=0, handing_over=False, digests=TAKEN)
REPLICA = replace(PRIMARY, is_primary=False, follows="redis-0")
NEW = Record()
ORDER = Order("an-order", "redis-1")


def seen(*looks, every=0.2, until=100.0):
    """What is known after looks, the last of which was at this time."""
    known = Known()
    for number, answer in enumerate(looks):
        known = known.after(answer, until - every * (len(looks) - 1 - number))
    return known


def steps(first, second, record=NEW, *, leads_to="redis-0", order=None, now=100.0):
    return decide(
        record,
        {"redis-0": first, "redis-1": second},
        leads_to,
        Wishes(order, TAKEN),
        now=now,
        rules=RULES,
    )


SILENT = (PRIMARY, *[None] * 6)
LINKED = seen(REPLICA)


def test_where_all_is_well_nothing_is_done():
    assert steps(seen(PRIMARY), LINKED) == ()


def test_a_primary_is_replaced_after_its_time_and_not_before():
    assert steps(seen(*SILENT[:5]), LINKED) == ()
    assert steps(seen(*SILENT), LINKED) == (Elect("redis-1"),)


def test_a_provider_that_stood_still_itself_looks_again_first():
    """It was frozen in the middle of a look: that failed, and seconds have passed."""
    assert steps(seen(PRIMARY, None, every=60), LINKED, now=160.0) == ()
    assert steps(seen(PRIMARY, None, PRIMARY, every=60), LINKED) == ()


@pytest.mark.parametrize(
    ("replica", "promoted"),
    [
        (replace(REPLICA, link_lost=1), True),  # it lost its primary as that ended
        (replace(REPLICA, link_lost=9), False),  # the primary took writes after that
        (replace(REPLICA, link_lost=None), False),  # it never had a whole data set
        (None, False),
    ],
)
def test_only_a_replica_that_has_the_data_is_promoted(replica, promoted):
    assert steps(seen(*SILENT), seen(replica)) == ((Elect("redis-1"),) if promoted else ())


def test_a_provider_that_never_saw_the_primary_takes_what_the_replica_has():
    dead = seen(*[None] * 7)
    assert steps(dead, seen(replace(REPLICA, link_lost=60))) == (Elect("redis-1"),)
    assert steps(dead, seen(replace(REPLICA, link_lost=None))) == ()


def test_an_election_is_carried_on_where_telling_failed():
    elected = replaced(NEW, primary="redis-1", followers=())
    assert steps(seen(*SILENT), LINKED, elected) == (Promote("redis-1"),)


def test_the_name_moves_after_the_promotion_and_its_delay():
    elected = replaced(NEW, primary="redis-1", followers=())
    dead = seen(*SILENT)
    assert steps(dead, seen(REPLICA, PRIMARY, PRIMARY), elected) == ()
    promoted = seen(REPLICA, *[PRIMARY] * 4)
    assert steps(dead, promoted, elected) == (Point("redis-1"),)
    assert steps(dead, promoted, elected, leads_to="redis-1") == ()
    assert steps(dead, seen(*[PRIMARY] * 4, None), elected, leads_to=None) == (Point("redis-1"),)


def test_a_former_primary_is_demoted_when_it_is_seen():
    elected = replaced(NEW, primary="redis-1", followers=())
    assert Follow("redis-0") in steps(seen(None, PRIMARY), seen(PRIMARY), elected)
    obeyed = seen(replace(REPLICA, follows="redis-1"))
    known = replaced(elected, followers=("redis-0",))
    assert steps(obeyed, seen(PRIMARY), known, leads_to="redis-1") == ()
    assert steps(obeyed, seen(PRIMARY), elected, leads_to="redis-1") == (Follow("redis-0"),)


def test_both_back_after_a_crash_of_all():
    """The one that was primary stays it, whoever is back first."""
    alone = seen(None, replace(REPLICA, link_lost=None))
    assert steps(seen(*SILENT), alone) == ()
    assert steps(seen(None, PRIMARY), seen(None, REPLICA)) == ()


def test_a_planned_failover_is_handed_over_and_finished():
    assert steps(seen(PRIMARY), LINKED, order=ORDER) == (HandOver("redis-1", "an-order"),)
    begun = replaced(NEW, heir="redis-1", order="an-order")
    busy = replace(PRIMARY, handing_over=True)
    assert steps(seen(busy), LINKED, begun, order=ORDER) == ()
    demoted = replace(REPLICA, follows="redis-1", handing_over=True)
    assert steps(seen(demoted), LINKED, begun, order=ORDER) == ()
    assert steps(seen(demoted), seen(PRIMARY), begun, order=ORDER) == (Succeed("redis-1"),)
    done = replaced(begun, primary="redis-1", heir=None, followers=())
    assert Point("redis-1") in steps(seen(demoted), seen(*[PRIMARY] * 4), done, order=ORDER)


@pytest.mark.parametrize(
    ("first", "second", "order", "reason"),
    [
        (seen(PRIMARY), seen(replace(REPLICA, link_lost=3)), ORDER, "does not follow"),
        (seen(PRIMARY), seen(None), ORDER, "does not follow"),
        (seen(None), LINKED, ORDER, "does not answer"),
        (seen(PRIMARY), LINKED, Order("an-order", "redis-0"), "already"),
    ],
)
def test_a_planned_failover_that_would_lose_data_is_refused(first, second, order, reason):
    (step,) = steps(first, second, order=order)
    assert isinstance(step, Refuse)
    assert reason in step.reason


@pytest.mark.parametrize("primary", [seen(PRIMARY), seen(*SILENT)])
def test_a_planned_failover_that_comes_to_nothing_is_given_up(primary):
    begun = replaced(NEW, heir="redis-1", order="an-order")
    (step,) = steps(primary, LINKED, begun, order=ORDER)
    assert isinstance(step, Refuse)
    after = replaced(begun, heir=None)
    assert steps(primary, LINKED, after, order=ORDER) == (
        (Elect("redis-1"),) if primary.answer is None else ()
    )


def test_passwords_are_set_wherever_they_differ():
    stale = replace(PRIMARY, digests=frozenset({"old"}))
    assert steps(seen(stale), LINKED) == (SetPasswords("redis-0"),)


@pytest.mark.parametrize(
    ("info", "link_lost"),
    [
        ({"role": "slave", "master_link_status": "up"}, 0),
        ({"role": "slave", "master_link_down_since_seconds": 3}, 3),
        ({"role": "slave", "master_link_down_since_seconds": 3, "uptime_in_seconds": -60}, 3),
        ({"role": "slave", "master_link_down_since_seconds": -1}, None),
        ({"role": "slave", "master_link_down_since_seconds": 1_790_000_000}, None),  # 6.2
        ({"role": "slave", "master_sync_in_progress": 1}, None),
        ({"role": "slave", "loading": 1}, None),
    ],
)
def test_what_a_replica_says_of_its_data(info, link_lost):
    info = {"loading": 0, "uptime_in_seconds": 60, "master_host": "127.64.0.10"} | info
    answer = read_answer(info, {"passwords": ["digest"]}, {"127.64.0.10": "redis-0"})
    assert answer.link_lost == link_lost
    assert (answer.follows, answer.digests) == ("redis-0", TAKEN)


def test_commands_that_replication_needs_cannot_be_forbidden():
    assert forbid([*FORBIDDEN, "evalsha", "EVALSHA"]) == tuple(sorted((*FORBIDDEN, "EVALSHA")))
    with pytest.raises(LabError, match="PSYNC, SELECT"):
        forbid(["select", "psync"])
    with pytest.raises(LabError, match="no command"):
        forbid(["CLIENT|KILL"])


def test_a_server_without_tls_is_told(tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\nread line\necho \">>> '$line'\" >&2\nexit 1\n")
    program.chmod(0o755)
    assert not Server(program, (7, 0, 15)).speaks_tls()
    program.write_text("#!/bin/sh\nread line\nread line\necho \">>> '$line'\" >&2\nexit 1\n")
    assert Server(program, (7, 0, 15)).speaks_tls()
