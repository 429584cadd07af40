"""The lab's waiting: how often it asks, and what it says where nothing came."""

from __future__ import annotations

import time

import pytest

from aragora_redis.lab import waiting
from aragora_redis.testing import FakeClock


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(waiting, "SYSTEM_CLOCK", clock)
    monkeypatch.setattr(time, "sleep", clock.advance)
    return clock


@pytest.mark.parametrize(
    ("takes", "asked"), [(0.0, 50), (0.05, 7), (0.5, 2)], ids=["quick", "slow", "slower"]
)
def test_pauses_are_as_long_as_the_machine_is_busy(clock, takes, asked):
    times = []

    def missing():
        times.append(clock.monotonic())
        clock.advance(takes)
        return "all"

    assert waiting.wait_until(missing, seconds=1.0 - 1e-9) == "all"
    assert len(times) == pytest.approx(asked, abs=1)


def test_what_is_there_is_seen_at_once_and_asked_once_where_there_is_no_time(clock):
    assert waiting.wait_until(lambda: "", seconds=1.0) == ""
    assert waiting.wait_until(lambda: "it", seconds=0.0) == "it"
    assert clock.monotonic() == FakeClock().monotonic()
