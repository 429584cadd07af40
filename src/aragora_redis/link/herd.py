"""When an instance comes back to a server that all of a fleet have lost at once.

A server verifies so many connections a second. Of a fleet that is too large for that, attempts
which all begin in one second are all given up half-way, and again a second later.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ..clock import Clock, full_jitter

AT_ONCE = 1000
"""Instances that a server verifies in little more time than one answer may take."""
EACH = 0.004
"""Seconds of a server's processor that one of them takes, of 3 000: see docs/scale.md."""
PATIENCE = 1.0
"""Seconds for one attempt to connect, and for each answer after that."""
MOST = 120.0
"""Seconds over which any number of them come back: how many there are is what a server has said."""
RETRY_BASE, RETRY_CAP = 0.02, 1.0


def spread(instances: int) -> float:
    """Seconds over which so many come back."""
    return min(max(instances - AT_ONCE, 0) * EACH, MOST)


def patience(instances: int) -> float:
    """Seconds to wait for an answer, with so many who may wait as well.

    Who gives up makes the server's work for it one in vain, and begins again behind all others.
    """
    return max(PATIENCE, spread(instances))


def pause(attempt: int, instances: int) -> float:
    """Seconds before retry number `attempt` (from 0), with so many who may try as well."""
    return full_jitter(attempt, base=RETRY_BASE, cap=max(RETRY_CAP, spread(instances)))


class Turn:
    """When it is this instance's turn.

    Args:
        instances: how many there were when they were last heard of; 0 while nobody was.
    """

    def __init__(self, instances: Callable[[], int], clock: Clock) -> None:
        self._instances = instances
        self._clock = clock
        self._at = clock.monotonic()
        self._herd = 0

    def draw(self) -> None:
        """The server was lost, or is another: all who had it come back within the spread."""
        self._herd = self._instances()  # those who are back later find only each other at first
        self._at = self._clock.monotonic() + random.uniform(0.0, spread(self._herd))

    @property
    def left(self) -> float:
        """Seconds until then; not above 0 once it has come."""
        return self._at - self._clock.monotonic()

    @property
    def crowded(self) -> bool:
        """Whether there are too many to come back at once."""
        return spread(self._known) > 0

    @property
    def patience(self) -> float:
        """Seconds to wait for an answer."""
        return patience(self._known)

    def pause(self, attempt: int) -> float:
        """Seconds before another attempt after one that failed."""
        return pause(attempt, self._known)

    def stagger(self) -> float:
        """Seconds before what all are told to do in one moment, and nobody waits for."""
        return random.uniform(0.0, spread(self._known))

    @property
    def _known(self) -> int:
        """Who starts behind a name has counted nobody yet, and may lose nothing for months."""
        return max(self._herd, self._instances())
