"""How long a failover took for this instance. Pure."""

from __future__ import annotations

from ..events import Event, LinkLost, LinkUp, SwitchAnnounced, ViewChanged
from ..operation import Lane

ANNOUNCEMENT_HOLDS = 10.0
"""Seconds after which an announcement that led to nothing is no part of a later failover."""


class FailoverTimer:
    """Times each failover from its first sign to the fast lane's link to the new primary.

    The sign is the loss of that link, or the Sentinels' announcement, on which writes stop too. A
    link that was lost and came back to the same primary is no failover.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._down = False
        self._moved = False

    def see(self, event: Event, now: float) -> float | None:
        """Take in an event at `now` (monotonic seconds); the duration where it ends a failover."""
        match event:
            case SwitchAnnounced() if not (self._down or self._moved):
                self._since = now
            case LinkLost(lane=Lane.FAST):
                if not self._moved:
                    self._since = now
                self._down = True
            case ViewChanged(old=old) if old is not None:
                forgotten = not self._down and now - (self._since or now) > ANNOUNCEMENT_HOLDS
                if self._since is None or forgotten:
                    self._since = now
                self._moved = True
            case LinkUp(lane=Lane.FAST):
                return self._end(now)
        return None

    def _end(self, now: float) -> float | None:
        since, moved = self._since, self._moved
        self._since, self._down, self._moved = None, False, False
        return now - since if moved and since is not None else None
