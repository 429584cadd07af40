"""What a managed service announces of its own work on the servers. Pure.

Source: Redis documentation, "Smart client handoffs": Redis Cloud and Redis Software push
`MOVING <number> <seconds> <endpoint>` before the endpoint leads elsewhere, `MIGRATING` and
`FAILING_OVER <number> <seconds>` before a shard is moved or replaced, and `MIGRATED` and
`FAILED_OVER <number>` after it; a cluster `SMIGRATED <number> <slots>`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

LONGEST = 600.0
"""Seconds that an announcement is believed for at most."""


class Work(StrEnum):
    """What the service is about to do, or has done."""

    MOVING = "MOVING"
    MIGRATING = "MIGRATING"
    MIGRATED = "MIGRATED"
    FAILING_OVER = "FAILING_OVER"
    FAILED_OVER = "FAILED_OVER"
    SLOTS_MIGRATED = "SMIGRATED"

    @property
    def is_over(self) -> bool:
        """Whether it has been done; what answers now may have other data."""
        return self in (Work.MIGRATED, Work.FAILED_OVER, Work.SLOTS_MIGRATED)


class Notice(NamedTuple):
    """One announcement; `seconds` is how long it takes, or until then, and 0 where it is over."""

    work: Work
    seconds: float


_WORDS = {work.value.encode(): work for work in Work}


def read_notice(push: Any) -> Notice | None:
    """A push as an announcement; None where it is something else, or cannot be read."""
    if not isinstance(push, list) or len(push) < 2 or not isinstance(push[0], bytes):
        return None
    work = _WORDS.get(push[0])
    if work is None:
        return None
    if work.is_over:
        return Notice(work, 0.0)
    if len(push) < 3 or not isinstance(push[2], int) or push[2] < 0:
        return None
    return Notice(work, min(float(push[2]), LONGEST))
