"""What the dashboard counts: latency by class, whom limits refuse, several workers as one."""

from __future__ import annotations

import msgspec
import pytest

from aragora_redis.events import Decided, SessionServed, SessionWrite
from aragora_redis.gateway.dashboard.figures import Counted, Figures, together
from aragora_redis.gateway.dashboard.heavy import COUNTERS, WINDOW, Refusals, Subject
from aragora_redis.gateway.latency import GROWTH, Latencies, latency_of
from aragora_redis.testing import FakeClock


def test_latency_is_told_by_class_and_second():
    clock = FakeClock()
    latencies = Latencies(clock)
    assert latency_of(latencies.rows()) is None
    for seconds in (*[0.001] * 98, 0.2, 0.2):
        began = latencies.now()
        clock.advance(seconds)
        latencies.took(began)
    clock.advance(2.0)
    seen = latency_of(latencies.rows())
    assert seen is not None
    assert seen.count == 100
    assert 0.001 <= seen.median <= 0.001 * GROWTH
    assert 0.2 <= seen.tail <= 0.2 * GROWTH
    assert seen.tails[-1] is None, "nothing was answered in the last second"
    clock.advance(60)
    assert latency_of(latencies.rows()) is None, "that was more than a minute ago"


@pytest.mark.parametrize("seconds", [0.0, 3600.0], ids=["none", "an-hour"])
def test_no_duration_is_beyond_the_classes(seconds):
    clock = FakeClock()
    latencies = Latencies(clock)
    began = latencies.now()
    clock.advance(seconds)
    latencies.took(began)
    clock.advance(1)
    assert latency_of(latencies.rows()) is not None


def test_who_is_refused_most_is_known_in_bounded_memory():
    refusals = Refusals()
    for number in range(10 * COUNTERS):
        refusals.count("api", b"%d" % number, 0.0)
        refusals.count("api", b"often", 0.0)
    ((subject, count), *_) = refusals.top(3, 1.0)
    assert subject == Subject("api", b"often")
    assert count >= 10 * COUNTERS
    assert len(refusals.top(1000, 1.0)) <= COUNTERS
    assert refusals.top(3, WINDOW + 1)[0] == (subject, count), "the whole window before"
    assert refusals.top(3, 3 * WINDOW) == ()


def counted(*events):
    clock = FakeClock()
    counts = Counted(Latencies(clock))
    for event in events:
        counts.see(event, clock.monotonic())
    clock.advance(1)
    return counts.figures(clock.monotonic())


def test_workers_count_as_one():
    refusal = Decided("api", allowed=False, source="redis", subject=b"\x01" * 16)
    one = counted(refusal, refusal, SessionServed("redis"), SessionWrite("create", "ok"))
    other = counted(refusal, Decided("api", allowed=True, source="local"))
    sent = msgspec.json.decode(msgspec.json.encode(other), type=Figures)
    both = together([one, sent])
    assert [(row.policy, row.digest, row.count) for row in both.refused] == [("api", "01" * 8, 3)]
    assert {rate.source: (sum(rate.allowed), sum(rate.refused)) for rate in both.decisions} == {
        "local": (1, 0),
        "redis": (0, 3),
    }
    assert {rate.source: sum(rate.allowed) for rate in both.sessions} == {"changes": 1, "redis": 1}
    assert together([one]) is one
