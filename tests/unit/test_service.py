"""Outages are said once, and end with a write."""

from __future__ import annotations

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import DeadlineError, LinkDownError, OutcomeUnknownError, RefusedError
from aragora_redis.events import Degraded, Event, Events, Recovered
from aragora_redis.state.service import Service


def service():
    events = Events()
    heard: list[Event] = []
    events.subscribe(heard.append)
    return Service(SYSTEM_CLOCK, events), heard


def test_a_thousand_failures_are_said_once():
    made, heard = service()
    for _ in range(1000):
        made.failed(LinkDownError("gone"))
    made.answered()
    made.answered()
    assert [type(event) for event in heard] == [Degraded, Recovered]


def test_a_refusal_of_writes_is_an_outage():
    made, _ = service()
    made.failed(RefusedError("OOM", "full"))
    assert made.degraded == "full (try again shortly)"


def test_one_slow_answer_is_none():
    made, heard = service()
    made.failed(DeadlineError("late"))
    made.failed(OutcomeUnknownError("late"))
    assert made.degraded is None
    assert heard == []


def test_one_primary_that_answers_does_not_end_the_outage_of_another():
    events = Events()
    heard: list[Event] = []
    events.subscribe(heard.append)
    whole = False
    made = Service(SYSTEM_CLOCK, events, whole=lambda: whole)
    made.failed(LinkDownError("one of three is gone"))
    made.answered()
    assert made.degraded
    whole = True
    made.answered()
    assert [type(event) for event in heard] == [Degraded, Recovered]
