"""What Django's sessions are in the terms of ours: fields, and how long they live."""

from __future__ import annotations

import datetime as dt

import pytest

from aragora_redis.errors import SessionDataError
from aragora_redis.sessions.data import encode
from aragora_redis.sessions.policy import SessionPolicy
from aragora_redis.web.django.session_fields import plain, take_over
from aragora_redis.web.django.session_life import Life, life, suffices

DAY = 86_400.0
POLICY = SessionPolicy(absolute=7200, longest=30 * DAY)
SHORT = SessionPolicy(absolute=7200)


@pytest.mark.parametrize(
    ("age", "policy", "lives"),
    [
        (600, POLICY, Life(600, 7200)),
        (14 * DAY, POLICY, Life(14 * DAY, 14 * DAY)),
        (0.25, POLICY, Life(1, 7200)),
        (14 * DAY, SHORT, Life(7200, 7200)),
        (60 * DAY, POLICY, Life(30 * DAY, 30 * DAY)),
        (0, POLICY, None),
        (-1, POLICY, None),
    ],
    ids=["unused", "longer", "shortest", "more-than-may", "capped", "now", "over"],
)
def test_a_session_asks_for_no_more_than_it_may(age, policy, lives):
    assert life(age, policy) == lives


@pytest.mark.parametrize(
    ("idle", "left", "dated", "enough"),
    [
        (600, 7200, False, True),
        (601, 7200, False, False),
        (600, 60, False, True),
        (601, 7200, True, True),
        (599, 7200, True, False),
        (601, 599, True, False),
    ],
    ids=["so", "longer", "ends-soon", "until-then", "unused-before", "ends-before"],
)
def test_a_session_begins_anew_only_where_it_must(idle, left, dated, enough):
    assert suffices(Life(600, 7200), idle=idle, left=left, dated=dated) is enough


@pytest.mark.parametrize(
    "value",
    [dt.datetime(2026, 11, 29, tzinfo=dt.UTC), {1, 2}, b"x", object(), {(1, 2): 3}],
    ids=["date", "set", "bytes", "object", "key"],
)
def test_what_json_has_not_is_refused_by_name(value):
    with pytest.raises(SessionDataError, match="the field 'f'"):
        plain({"f": value})


def test_what_holds_itself_is_refused():
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(SessionDataError, match="in itself"):
        plain({"f": ring})


def test_what_cannot_be_stored_is_not_told_by_value():
    with pytest.raises(SessionDataError) as told:
        plain({"f": {"password": b"hunter2"}})
    assert "hunter2" not in str(told.value)


def test_what_others_have_changed_is_taken_over_and_nothing_else():
    kept: list[object] = [1]
    held = {"kept": kept, "mine": "new", "others": 1, "gone": 1, "unfit": object()}
    sent = encode({"kept": [1], "mine": "old", "others": 1, "gone": 1, "unfit": 0})
    newer = {"kept": [1], "mine": "old", "others": 2, "more": 3, "unfit": 0}
    assert take_over(held, sent, newer) == encode(newer)
    assert held["kept"] is kept
    assert {name: held[name] for name in held if name != "unfit"} == {
        "kept": [1],
        "mine": "new",
        "others": 2,
        "more": 3,
    }
