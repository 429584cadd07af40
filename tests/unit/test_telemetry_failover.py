"""A failover is timed from its first sign to the link to the new primary, and nothing else is."""

from __future__ import annotations

import pytest

from aragora_redis.address import Address
from aragora_redis.events import Event, LinkLost, LinkUp, SwitchAnnounced, ViewChanged
from aragora_redis.telemetry.failover import FailoverTimer

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
        "another lane does not begin it",
        "another lane does not end it",
    ],
)
def test_duration(story: list[tuple[float, Event]], durations: list[float]):
    timer = FailoverTimer()
    seen = [timer.see(event, now) for now, event in story]
    assert [each for each in seen if each is not None] == durations
