"""What a managed service forbids is no fault; what an operator can grant is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis._parsers.base import BaseParser
from tests.unit.test_health_verdict import NODE, P

from aragora_redis.ops.connect import ConnectReport, Step, Way
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.offered import Trial, is_forbidden, read_trial, unseen
from aragora_redis.ops.overview import overview_of
from aragora_redis.ops.probe import Probe, judge_probe
from aragora_redis.ops.report import Status
from aragora_redis.ops.survey import NodeSurvey, Survey
from aragora_redis.ops.verdict import judge_node

UNKNOWN = "ERR unknown command 'INFO', with args beginning with: "
NOPERM = "NOPERM this user has no permissions to run the 'info' command"
READONLY = "READONLY You can't write against a read only replica."
NOREPLICAS = "NOREPLICAS Not enough good replicas to write."


@pytest.mark.parametrize(
    ("said", "alone", "forbidden"),
    [
        (UNKNOWN, True, True),
        ("ERR unknown command `INFO`, with args beginning with: ", True, True),
        ("ERR Command is not available: 'INFO'", True, True),
        (UNKNOWN, False, False),
        (NOPERM, True, False),
        (NOPERM, False, False),
        ("BUSY Redis is busy running a script.", True, False),
        ("MISCONF Redis is configured to save RDB snapshots", True, False),
    ],
)
def test_what_is_forbidden_by_a_service(said, alone, forbidden):
    assert is_forbidden(BaseParser.parse_error(said), alone=alone) is forbidden


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, Trial("master")),
        (READONLY, Trial("slave")),
        (NOREPLICAS, Trial("master", NOREPLICAS)),
        (NOPERM, Trial()),
        ("ERR unknown command 'DEL', with args beginning with: ", Trial()),
    ],
)
def test_what_an_empty_write_tells(said, told):
    error = None if said is None else BaseParser.parse_error(said)
    assert read_trial(error, alone=True) == told


def test_one_line_says_what_cannot_be_seen():
    assert unseen({"ROLE", "HGETALL"}) == ()
    assert unseen({"CONFIG", "INFO"}, ("INFO",)) == (
        "not seen, as the service forbids INFO: its memory, clients, disk and version",
    )
    (line,) = unseen({"ACL", "CONFIG"})
    assert line.endswith("forbids CONFIG, ACL: how it is configured; what our user may")


HIDDEN = replace(NODE, good_replicas=None, min_replicas=None, forbidden=frozenset({"INFO"}))


@pytest.mark.parametrize(
    ("seen", "status", "text"),
    [
        (HIDDEN, Status.OK, "OK: Redis healthy (standalone or managed)"),
        (replace(HIDDEN, role=None), Status.OK, "OK: Redis healthy (standalone or managed)"),
        (replace(HIDDEN, role="slave"), Status.CRITICAL, "is a replica and refuses writes"),
        (replace(HIDDEN, refusal=NOREPLICAS), Status.CRITICAL, f"refuses writes: {NOREPLICAS}"),
    ],
)
def test_health_goes_by_what_can_be_seen(seen, status, text):
    report = judge_node(P, seen)
    assert (report.status, text in report.headline) == (status, True)
    assert report.as_dict()["notes"] == list(unseen({"INFO"}))
    assert judge_probe(Probe.READY, {}, seen).status is status


def survey(**changes):
    forbidden = frozenset({"INFO", "CONFIG", "ACL"})
    node = NodeSurvey(role="master", source=None, info={}, config={}, forbidden=forbidden)
    node = replace(node, **changes)
    return Survey(master_name=None, sentinels={}, nodes={P: node}, now=0.0)


@pytest.mark.parametrize(
    ("changes", "names", "role", "status"),
    [
        ({}, (), "primary", Status.OK),
        ({"role": None}, (), "server", Status.OK),
        ({"role": "slave"}, ("endpoint-is-a-replica",), "replica", Status.CRITICAL),
        ({"refusal": NOREPLICAS}, ("writes-refused",), "primary", Status.CRITICAL),
    ],
)
def test_doctor_and_status_go_by_what_can_be_seen(changes, names, role, status):
    found, drawn = examine(survey(**changes)), overview_of(survey(**changes))
    assert tuple(each.name for each in found.diagnoses) == names
    assert (found.status, drawn.status) == (status, status)
    assert found.as_dict()["notes"] == list(unseen({"INFO", "CONFIG", "ACL"}))
    assert (drawn.servers[0].role, drawn.notes) == (role, unseen({"INFO"}))


def test_a_way_says_what_was_not_told():
    way = Way(server="Redis", address=P, taken={Step.AUTH: 0.001}, unseen="not told")
    assert str(way) == f"Redis {P}: AUTH 1.0 ms; not told"
    assert ConnectReport((way,)).as_dict()["ways"][0]["unseen"] == "not told"
