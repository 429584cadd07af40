"""A failover is timed from its first sign to the link to the new primary, and nothing else is."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aragora_redis.address import Address
from aragora_redis.events import (
    Degraded,
    Event,
    LinkLost,
    LinkUp,
    Recovered,
    SwitchAnnounced,
    ViewChanged,
)
from aragora_redis.telemetry.failover import FailoverTimer, Phase

OLD, NEW = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)
LOST = LinkLost(str(OLD), "fast", "gone")
UP = LinkUp(str(NEW), "fast", 0.5)
ANNOUNCED = SwitchAnnounced(Address("127.0.0.1", 26379))
CHANGED = ViewChanged(OLD, NEW, 2)


@pytest.mark.parametrize(
    ("story", "durations"),
    [
        ([(1, LOST), (3, ANNOUNCED), (4, CHANGED), (5, UP)], [4]),
        ([(1, ANNOUNCED), (2, CHANGED), (2.5, LOST), (3, UP)], [2]),
        ([(1, LOST), (2, UP)], []),
        ([(1, LOST), (2, UP), (9, LOST), (10, CHANGED), (11, UP)], [2]),
        ([(1, ANNOUNCED), (50, LOST), (51, CHANGED), (52, UP)], [2]),
        ([(1, ANNOUNCED), (50, CHANGED), (51, UP)], [1]),
        ([(1, ANNOUNCED), (50, ANNOUNCED), (51, CHANGED), (52, UP)], [2]),
        ([(1, CHANGED), (3, UP)], [2]),
        ([(1, ViewChanged(None, NEW, 1)), (2, UP)], []),
        ([(0, ANNOUNCED), (0.3, ANNOUNCED), (0.6, ANNOUNCED), (0.7, CHANGED), (0.8, UP)], [0.8]),
        ([(0, ANNOUNCED), (0.5, LOST), (0.7, CHANGED), (1, UP)], [1]),
        ([(1, LinkLost(str(OLD), "bulk", "gone")), (3, CHANGED), (4, UP)], [1]),
        ([(1, LOST), (2, CHANGED), (3, LinkUp(str(NEW), "bulk", 0.0)), (4, UP)], [3]),
    ],
    ids=[
        "killed",
        "planned",
        "same primary came back",
        "a lost link before",
        "a false announcement, then killed",
        "a false announcement, then found by polling",
        "a false announcement, then planned",
        "found by polling",
        "the first primary",
        "each Sentinel announces it",
        "announced, then lost",
        "another lane does not begin it",
        "another lane does not end it",
    ],
)
def test_duration(story: list[tuple[float, Event]], durations: list[float]):
    timer = FailoverTimer()
    seen = [span for now, event in story for span in timer.see(event, now)]
    assert [span.seconds for span in seen if span.phase is Phase.WHOLE] == durations


RECOVERED = Recovered(3.0)
DEGRADED = Degraded("refused")


@pytest.mark.parametrize(
    ("story", "phases"),
    [
        (
            [(1, LOST), (3, ANNOUNCED), (4, CHANGED), (4.5, UP), (4.75, RECOVERED)],
            {"election": 2, "agreement": 1, "connection": 0.5, "first-write": 0.25},
        ),
        (
            [(1, LOST), (3, CHANGED), (4, UP)],
            {"election": 2, "agreement": 0, "connection": 1},
        ),
        (
            [(1, ANNOUNCED), (1.5, CHANGED), (2, LOST), (3, UP)],
            {"election": 0, "agreement": 0.5, "connection": 1.5},
        ),
        (
            [(1, ANNOUNCED), (50, LOST), (51, CHANGED), (52, UP)],
            {"election": 1, "agreement": 0, "connection": 1},
        ),
        ([(1, LOST), (2, UP), (3, RECOVERED)], {}),
        ([(1, LOST), (2, CHANGED), (3, UP), (90, RECOVERED)],
         {"election": 1, "agreement": 0, "connection": 1}),
        ([(1, LOST), (2, CHANGED), (3, UP), (43, DEGRADED), (44, RECOVERED)],
         {"election": 1, "agreement": 0, "connection": 1}),
        ([(1, LOST), (2, CHANGED), (3, UP), (3.5, DEGRADED), (5, RECOVERED)],
         {"election": 1, "agreement": 0, "connection": 1, "first-write": 2}),
        ([(0, LOST), (1, ANNOUNCED), (5, ANNOUNCED), (5.5, CHANGED), (6, UP)],
         {"election": 1, "agreement": 4.5, "connection": 0.5}),
        ([(1, LOST), (2, CHANGED), (3, UP), (4, LOST), (5, UP), (6, RECOVERED)],
         {"election": 1, "agreement": 0, "connection": 1}),
    ],
    ids=[
        "killed",
        "found by polling",
        "planned",
        "a false announcement, then killed",
        "same primary came back",
        "a recovery long after",
        "an unrelated refusal of writes",
        "a refusal that the switch brought",
        "announced again and again",
        "lost again before it recovered",
    ],
)  # fmt: skip
def test_phases(story: list[tuple[float, Event]], phases: dict[str, float]):
    timer = FailoverTimer()
    spans = [span for now, event in story for span in timer.see(event, now)]
    found = {span.phase.value: span.seconds for span in spans if span.phase is not Phase.WHOLE}
    assert found == phases
    one_after_the_other = [span for span in spans if span.phase is not Phase.WHOLE]
    for before, after in pairwise(one_after_the_other):
        assert before.ended == after.began
