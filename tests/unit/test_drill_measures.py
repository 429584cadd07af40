"""What a drill's records amount to."""

from __future__ import annotations

import pytest

from aragora_redis.ops.drill import DrillReport, Scenario, page
from aragora_redis.ops.drill.measures import OURS, PEER, Objectives, judge
from aragora_redis.ops.drill.records import Announcement, Outcome, Records, Write
from aragora_redis.ops.report import Status

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


def test_phases_count_from_the_fault():
    said = [(1.0, "+odown"), (3.5, "+odown"), (4.0, "+odown"), (5.0, "+switch-master")]
    verdict = judged(records([(1, OK)], announcements=said))
    assert (verdict.detection, verdict.promotion) == (1.5, 3.0)
    assert judged(records([(1, OK)])).promotion is None


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
    assert drawn.count('fill="#1a202c"/>') >= 30, "lost writes are dark"
    assert "+switch-master" in drawn
    assert "&lt;b&gt;" in drawn
    assert report.as_dict()["verdict"]["writers"][OURS]["lost"] == 49


def test_what_was_not_drilled_is_told_too():
    report = DrillReport(Scenario.SWITCHOVER, Objectives(gap=1.0), refused=("no-majority: ...",))
    assert report.exit_code == 2
    assert "no-majority" in page(report)
