"""A failover is timed from its first sign to the link to the new primary, and nothing else is."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec import structs

from aragora_redis.address import Address
from aragora_redis.events import (
    GIVEN_UP,
    Degraded,
    Event,
    LinkLost,
    LinkUp,
    Recovered,
    SwitchAnnounced,
    ViewChanged,
)
from aragora_redis.telemetry.failover import FailoverTimer, FailoverTimers, Phase

OLD, NEW = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)
LOST = LinkLost(str(OLD), "fast", "gone")
UP = LinkUp(str(NEW), "fast", 0.5)
BACK = LinkUp(str(OLD), "fast", 0.5)
ANNOUNCED = SwitchAnnounced(Address("127.0.0.1", 26379))
CHANGED = ViewChanged(OLD, NEW, 2)


@pytest.mark.parametrize(
    ("story", "durations"),
    [
        ([(1, LOST), (3, ANNOUNCED), (4, CHANGED), (5, UP)], [4]),
        ([(1, ANNOUNCED), (2, CHANGED), (2.5, LOST), (3, UP)], [2]),
        ([(1, LOST), (2, BACK)], []),
        ([(1, LOST), (2, BACK), (9, LOST), (10, CHANGED), (11, UP)], [2]),
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


def test_two_redis_that_fail_over_at_a_time_are_timed_each_for_itself():
    timers = FailoverTimers()
    story = [
        (0.0, "limits", ANNOUNCED),
        (1.0, "tokens", LOST),
        (2.0, "limits", CHANGED),
        (2.5, "limits", UP),
        (3.0, "tokens", ANNOUNCED),
        (4.0, "tokens", CHANGED),
        (5.0, "tokens", UP),
    ]
    spans = [
        span
        for now, feature, event in story
        for span in timers.see(structs.replace(event, features=(feature,)), now)
    ]
    assert [span.seconds for span in spans if span.phase is Phase.WHOLE] == [2.5, 4.0]


OTHER = Address("127.0.0.1", 6390)
BOTH_UP = [(0.0, BACK), (0.0, LinkUp(str(OTHER), "fast", 0.0))]
OTHER_LOST = LinkLost(str(OTHER), "fast", "gone")
OTHER_GIVEN_UP = LinkLost(str(OTHER), "fast", GIVEN_UP)
NAME_LOST, NAME_UP = LinkLost("redis:6379", "fast", "gone"), LinkUp("redis:6379", "fast", 0.5)
LEADS_ELSEWHERE = ViewChanged(OLD, NEW, None)


@pytest.mark.parametrize(
    ("story", "durations"),
    [
        ([(9, ViewChanged(OTHER, OLD, 2)), (10, OTHER_GIVEN_UP), (7200, LOST), (7201, BACK)], []),
        ([(9, OTHER_GIVEN_UP), (7200, LOST), (7201, CHANGED), (7202, UP)], [2]),
        ([(9, OTHER_LOST), (7200, LOST), (7201, CHANGED), (7202, UP)], [2]),
        ([(8, LOST), (9, OTHER_LOST), (10, CHANGED), (11, BOTH_UP[1][1]), (12, UP)], [4]),
        ([(8, LOST), (9, OTHER_LOST), (10, CHANGED), (11, UP),
          (12, ViewChanged(OTHER, NEW, 3))], [3, 3]),
        ([(9, LOST), (10, UP), (11, CHANGED), (7200, LinkLost(str(NEW), "fast", "x")),
          (7201, UP)], [2]),
        ([(9, OTHER_LOST), (10, ViewChanged(OTHER, OTHER, 2)), (10, OTHER_GIVEN_UP),
          (12, LinkUp(str(OTHER), "fast", 3.0))], [3]),
    ],
    ids=[
        "slots handed to another primary",
        "given up, then another killed",
        "lost and never back, then another killed",
        "another primary came back meanwhile",
        "two of them",
        "linked before it was chosen",
        "replaced under its own address",
    ],
)  # fmt: skip
def test_each_primary_of_a_cluster_has_its_own(story: list[tuple[float, Event]], durations):
    timer = FailoverTimer()
    seen = [span for now, event in [*BOTH_UP, *story] for span in timer.see(event, now)]
    assert [span.seconds for span in seen if span.phase is Phase.WHOLE] == durations


@pytest.mark.parametrize(
    ("story", "durations"),
    [
        ([(9, NAME_LOST), (10, LEADS_ELSEWHERE), (11, NAME_UP)], [2]),
        ([(9, LEADS_ELSEWHERE), (10, NAME_LOST), (11, NAME_UP)], [2]),
        ([(9, LEADS_ELSEWHERE), (7200, NAME_LOST), (7201, NAME_UP)], []),
    ],
    ids=["killed", "planned", "taken over without a gap, and lost long after"],
)
def test_behind_a_name_the_link_leads_to_the_name(story: list[tuple[float, Event]], durations):
    timer = FailoverTimer()
    seen = [span for now, event in [(0.0, NAME_UP), *story] for span in timer.see(event, now)]
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
        ([(1, LOST), (2, BACK), (3, RECOVERED)], {}),
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
