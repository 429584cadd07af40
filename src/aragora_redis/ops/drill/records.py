"""What a drill writes down: who wrote what, and what became of it. Values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """What a writer was told."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    """It did not run."""
    UNKNOWN = "unknown"
    """It may have run."""


class Write(NamedTuple):
    """One numbered write. Times are seconds since the drill began."""

    number: int
    began: float
    ended: float
    outcome: Outcome
    error: str = ""
    """Its kind; empty for none."""


class Announcement(NamedTuple):
    """What a Sentinel published, or was seen of a cluster's nodes or a managed service."""

    at: float
    event: str
    """`+sdown`, `+odown`, `+switch-master`, ...; of a cluster FAILED and PROMOTED, of a service
    CHOSEN and MOVED."""


FAILED, PROMOTED = "+fail", "+promoted"
"""A node flags the primary so, which takes most primaries; another node claims its slots."""
CHOSEN, MOVED = "+chosen", "+moved"
"""A provider has chosen another primary, unasked; its name leads to another one."""
AGREED_DOWN = frozenset({"+odown", FAILED, CHOSEN})
REPLACED = frozenset({"+switch-master", PROMOTED, MOVED})


@dataclass(slots=True)
class Records:
    """All of one drill."""

    fault_at: float = 0.0
    doubt: str = ""
    """Why it is not known whether the fault was made; empty where it was."""
    mended_at: float = 0.0
    ended_at: float = 0.0
    announcements: list[Announcement] = field(default_factory=list)
    writes: dict[str, list[Write]] = field(default_factory=dict)
    """By writer."""
    survivors: dict[str, set[int]] = field(default_factory=dict)
    """By writer, if it could be asked: the numbers that are there at the end."""

    @property
    def errors(self) -> dict[str, dict[str, int]]:
        """By writer: kinds of errors, counted."""
        return {
            name: dict(Counter(write.error for write in writes if write.error))
            for name, writes in self.writes.items()
        }
