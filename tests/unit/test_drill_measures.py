"""What a drill's records amount to."""

from __future__ import annotations

import pytest
from redis.crc import key_slot
from tests.unit.cluster_words import DOWN, NAMES, A, B, X, node, row, survey, word

from aragora_redis.address import Address
from aragora_redis.ops.drill import DrillReport, Scenario, page, part_named, parts_of
from aragora_redis.ops.drill.measures import OURS, PEER, Objectives, judge
from aragora_redis.ops.drill.observer import events_in
from aragora_redis.ops.drill.records import (
    CHOSEN,
    MOVED,
    PROMOTED,
    Announcement,
    Outcome,
    Records,
    Write,
)
from aragora_redis.ops.drill.records import FAILED as FAILED_EVENT
from aragora_redis.ops.drill.service import Sight, changes
from aragora_redis.ops.report import Status
from aragora_redis.topology.nodes import read_rows

OK, FAILED, UNKNOWN = Outcome.ACKNOWLEDGED, Outcome.FAILED, Outcome.UNKNOWN


def records(ours, *, peer=(), there=None, announcements=()):
    """Writes as (ended, outcome), numbered from 1; all acknowledged ones are there by default."""
    found = Records(fault_at=2.0, mended_at=6.0, ended_at=10.0)
    for name, told in ((OURS, ours), (PEER, peer)):
        found.writes[name] = [
            Write(number, at - 0.01, at, outcome) for number, (at, outcome) in enumerate(told, 1)
        ]
        found.survivors[name] = {w.number for w in found.writes[name]}
    if there is not None:
        found.survivors[OURS] = there
    found.announcements = [Announcement(*each) for each in announcements]
    return found


def judged(found, **objectives):
    return judge(found, Objectives(**{"gap": 5.0, **objectives}))


def test_the_longest_gap_counts_from_the_beginning_and_to_the_end():
    verdict = judged(records([(1, OK), (2, OK), (3, FAILED), (6, OK)]))
    assert verdict.writers[OURS].gap == pytest.approx(4)
    assert not verdict.missed
    assert judged(records([(1, OK)])).missed == ("9.0 s without a write, and 5 s may be",)
    assert "nothing was acknowledged at all" in judged(records([(1, FAILED)])).missed


def test_lost_is_what_was_acknowledged_and_is_not_there():
    found = records([(n, OK) for n in range(1, 10)] + [(9.5, UNKNOWN)], there={1, 2, 3, 10})
    measures = judged(found).writers[OURS]
    assert (measures.acknowledged, measures.lost, measures.unknown) == (9, 6, 1)
    assert judged(found).missed == ("6 acknowledged writes were lost, and 0 may be",)
    assert not judged(found, lost=6).missed


def test_what_nobody_could_be_asked_for_is_not_lost_and_shows_nothing():
    found = records([(n / 10, OK) for n in range(1, 99)])
    name = f"{OURS} 5461-10922"
    found.writes[name] = found.writes[OURS]
    found.survivors.clear()
    objectives = Objectives(gap=5.0, elsewhere=1.0)
    verdict = judge(found, objectives)
    assert [each.lost for each in verdict.writers.values()] == [None] * 3
    assert verdict.missed == (
        "what survived could not be asked",
        f"{name}, which was not touched: what survived could not be asked",
    )
    drawn = page(DrillReport(Scenario.KILL_PRIMARY, objectives, verdict, found))
    assert 'fill="#1a202c"/>' not in drawn, "none is dark"
    assert "<td>98<td>?<td>0" in drawn


@pytest.mark.parametrize(
    "words", [("+odown", "+switch-master"), ("+fail", "+promoted"), ("+chosen", "+moved")]
)
def test_phases_count_from_the_fault(words):
    down, replaced = words
    said = [(1.0, down), (3.5, down), (4.0, down), (5.0, replaced)]
    verdict = judged(records([(1, OK)], announcements=said))
    assert (verdict.detection, verdict.promotion) == (1.5, 3.0)
    assert judged(records([(1, OK)])).promotion is None


@pytest.mark.parametrize(
    ("now", "events"),
    [
        (Sight("redis-0", "a", "redis-0"), set()),
        (Sight("redis-1", "a", "redis-0"), {CHOSEN}),
        (Sight("redis-1", "a", "redis-1"), {CHOSEN, MOVED}),
        (Sight("redis-1", "b", "redis-0"), set()),
        (Sight("redis-1", "b", "redis-1"), {MOVED}),
    ],
)
def test_what_changes_behind_a_name(now, events):
    """What was asked for is no outage."""
    assert changes(Sight("redis-0", "a", "redis-0"), now) == events


def test_objectives_of_a_service_leave_its_name_the_time_to_move():
    assert Scenario.KILL_PRIMARY.objectives(1.0, 0.5).gap == 6.5
    assert Scenario.SWITCHOVER.objectives(1.0, 30.0).gap == 33.0


def test_a_fault_that_nobody_saw_and_that_may_not_have_been_made_shows_nothing():
    told = [(n, OK) for n in range(1, 10)]
    found = records(told)
    found.doubt = "it has not answered"
    assert judged(found).missed == ("it has not answered",)
    seen = records(told, announcements=[(5.0, "+switch-master")])
    seen.doubt = found.doubt
    assert not judged(seen).missed


def test_a_shard_that_nothing_was_done_to_has_no_error_and_no_gap():
    fine = [(n / 4, OK) for n in range(1, 41)]

    def missed(told, **objectives):
        found = records(fine)
        name = f"{OURS} 5461-10922"
        found.writes[name] = [
            Write(number, at, at, outcome, error)
            for number, (at, outcome, error) in enumerate(told, 1)
        ]
        found.survivors[name] = {write.number for write in found.writes[name]}
        return judged(found, **objectives).missed

    well = [(at, outcome, "") for at, outcome in fine]
    assert not missed([*well, (10.0, UNKNOWN, "")], elsewhere=1.0), "it ended with the drill"
    told = [*well, (10.0, FAILED, "LinkDownError")]
    assert missed(told, elsewhere=1.0) == (
        f"{OURS} 5461-10922, which was not touched: 1 writes failed or were lost",
    )
    told = [each for each in well if not 3 < each[0] < 6]
    assert missed(told, elsewhere=1.0) == (
        f"{OURS} 5461-10922, which was not touched: 3.0 s without a write",
    )
    assert not missed(told), "where everything was touched"


def test_a_part_is_named_by_a_node_or_a_slot_and_found_again():
    parts = parts_of(survey())
    assert [str(part) for part in parts] == ["0-5460", "5461-10922", "10923-16383"]
    assert part_named(parts, None) == part_named(parts, 0) == part_named(parts, X) == parts[0]
    assert part_named(parts, Address("10.0.0.9", 1)) is None
    assert key_slot(parts[1].key("aragora:drill")) in range(5461, 10923)

    assert parts[0].primary_now(survey()) == A
    after = {A: row(A, slots=""), X: row(X, slots="0-5460", epoch=9, primary="-")}
    heard = {at: node(at, said=word(at, rows=after)) for at in NAMES if at not in after}
    assert parts[0].primary_now(survey({A: DOWN, X: DOWN} | heard)) == X


def test_what_a_node_says_is_told_apart():
    part = parts_of(survey())[0]

    def events(**lines):
        text = "\n".join(lines.get(NAMES[at], row(at)) for at in NAMES)
        return events_in(read_rows(text), part)

    assert events() == frozenset()
    assert events(a=row(A, down="fail?")) == frozenset(), "one alone misses it"
    assert events(a=row(A, down="fail"), b=row(B, down="fail")) == {FAILED_EVENT}
    taken = row(X, slots="0-5460", primary="-")
    assert events(a=row(A, slots="", down="fail"), x=taken) == {FAILED_EVENT, PROMOTED}


def test_the_page_shows_what_was_lost_and_says_what_held():
    found = records(
        [(n / 10, OK) for n in range(1, 99)],
        peer=[(1, OK), (4, FAILED)],
        there=set(range(1, 50)),
        announcements=[(5.0, "+switch-master")],
    )
    objectives = Objectives(gap=5.0)
    verdict = judge(found, objectives)
    report = DrillReport(Scenario.KILL_PRIMARY, objectives, verdict, found, notes=("<b>",))
    assert (report.status, report.exit_code) == (Status.WARNING, 1)
    drawn = page(report)
    assert "MISSED: kill-primary: 49 acknowledged writes were lost" in drawn
    assert "Unknown: may have been written, nobody can say." in drawn
    assert drawn.count('fill="#1a202c"/>') >= 30, "lost writes are dark"
    assert "+switch-master" in drawn
    assert "&lt;b&gt;" in drawn
    assert report.as_dict()["verdict"]["writers"][OURS]["lost"] == 49


def test_what_was_not_drilled_is_told_too():
    report = DrillReport(Scenario.SWITCHOVER, Objectives(gap=1.0), refused=("no-majority: ...",))
    assert report.exit_code == 2
    assert "no-majority" in page(report)
