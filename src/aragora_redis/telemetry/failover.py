"""How long a failover took for this instance, phase by phase. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from ..events import Degraded, Event, LinkLost, LinkUp, Recovered, SwitchAnnounced, ViewChanged
from ..operation import Lane

ANNOUNCEMENT_HOLDS = 10.0
"""Seconds after which an announcement that led to nothing is no part of a later failover."""
RECOVERY_HOLDS = 60.0
"""Seconds after the link within which the first accepted write belongs to the failover."""


REFUSAL_HOLDS = 2.0
"""Seconds after the link within which a refusal of writes still belongs to the failover."""


class Phase(StrEnum):
    """A part of a failover; each begins where the one before ends."""

    ELECTION = "election"
    """From the first sign until a Sentinel names another primary."""
    AGREEMENT = "agreement"
    """Until that is believed."""
    CONNECTION = "connection"
    """Until it is linked and verified."""
    FIRST_WRITE = "first-write"
    """Until it has accepted a write; only told where writes had been given up."""
    WHOLE = "whole"
    """From the first sign until it is linked."""


class Span(NamedTuple):
    """A phase that is over, in monotonic seconds."""

    phase: Phase
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.ended - self.began


class FailoverTimer:
    """Times each failover from its first sign to the fast lane's link to the new primary.

    The sign is the loss of that link, or the Sentinels' announcement, on which writes stop too. A
    link that was lost and came back to the same primary is no failover.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._named: float | None = None
        self._moved: float | None = None
        self._down = False
        self._linked: float | None = None

    def see(self, event: Event, now: float) -> tuple[Span, ...]:
        """Take in an event at `now` (monotonic seconds); the phases that it ends."""
        match event:
            case SwitchAnnounced() if self._moved is None:
                self._begin(now)
                self._named = now if self._named is None else self._named
            case LinkLost(lane=Lane.FAST):
                if self._moved is None and not self._down:
                    self._begin(now)
                self._down, self._linked = True, None
            case ViewChanged(old=old) if old is not None:
                self._begin(now)
                self._named = now if self._named is None else self._named
                self._moved = now
            case LinkUp(lane=Lane.FAST):
                return self._end(now)
            case Degraded():
                if self._linked is not None and now - self._linked > REFUSAL_HOLDS:
                    self._linked = None
            case Recovered():
                return self._resume(now)
        return ()

    def _begin(self, now: float) -> None:
        """Take this for the first sign, unless there was one that still counts."""
        stale = not self._down and now - (self._since or now) > ANNOUNCEMENT_HOLDS
        if self._since is None or stale:
            self._since, self._named = now, None

    def _end(self, now: float) -> tuple[Span, ...]:
        since, named, moved = self._since, self._named, self._moved
        self._since = self._named = self._moved = None
        self._down = False
        if since is None or named is None or moved is None:
            return ()
        self._linked = now
        return (
            Span(Phase.ELECTION, since, named),
            Span(Phase.AGREEMENT, named, moved),
            Span(Phase.CONNECTION, moved, now),
            Span(Phase.WHOLE, since, now),
        )

    def _resume(self, now: float) -> tuple[Span, ...]:
        linked, self._linked = self._linked, None
        if linked is None or now - linked > RECOVERY_HOLDS:
            return ()
        return (Span(Phase.FIRST_WRITE, linked, now),)
