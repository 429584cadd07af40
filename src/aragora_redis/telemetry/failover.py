"""How long a failover took for this instance, phase by phase. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ..address import Address
from ..events import (
    GIVEN_UP,
    Degraded,
    Event,
    LinkLost,
    LinkUp,
    OfRedis,
    Recovered,
    SwitchAnnounced,
    ViewChanged,
)
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
    features: tuple[str, ...] = ()
    """Those whose Redis it is; empty where it is that of all."""

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.ended - self.began


@dataclass(slots=True)
class _UnderWay:
    """A failover that has not ended, in monotonic seconds."""

    since: float
    named: float | None = None
    moved: float | None = None
    replaced: str | None = None
    """Whose link is closed on this news, which is no new sign."""


class FailoverTimers:
    """A `FailoverTimer` for each Redis."""

    def __init__(self) -> None:
        self._timers: defaultdict[tuple[str, ...], FailoverTimer] = defaultdict(FailoverTimer)

    def see(self, event: Event, now: float) -> tuple[Span, ...]:
        """Take in an event at `now` (monotonic seconds); the phases that it ends."""
        if not isinstance(event, OfRedis):
            return ()
        over = self._timers[event.features].see(event, now)
        return tuple(span._replace(features=event.features) for span in over)


class FailoverTimer:
    """Times each failover from its first sign to the fast lane's link to the new primary.

    The sign is the loss of that link, or the Sentinels' announcement, on which writes stop too. A
    link that was lost and came back to the same primary is no failover, and one that was given up
    was not lost. In a cluster each primary has its own.
    """

    def __init__(self) -> None:
        self._announced: float | None = None
        self._under_way: dict[str, _UnderWay] = {}  # by where the link leads that will end it
        self._links: set[str] = set()
        self._linked: float | None = None

    def see(self, event: Event, now: float) -> tuple[Span, ...]:
        """Take in an event at `now` (monotonic seconds); the phases that it ends."""
        match event:
            case SwitchAnnounced():
                self._announce(now)
            case LinkLost(address, Lane.FAST, reason):
                self._lose(address, reason, now)
            case ViewChanged(Address(), _, None):
                for name in self._links | self._under_way.keys():  # it leads elsewhere
                    self._move(name, name, now)
            case ViewChanged(Address() as old, new):
                return self._replace(str(old), str(new), now)
            case LinkUp(address, Lane.FAST):
                self._links.add(address)
                return self._end(address, now)
            case Degraded():
                if self._linked is not None and now - self._linked > REFUSAL_HOLDS:
                    self._linked = None
            case Recovered():
                return self._resume(now)
        return ()

    def _announce(self, now: float) -> None:
        for it in self._under_way.values():
            it.named = now if it.named is None else it.named
        if not self._under_way and not self._is_recent(self._announced, now):
            self._announced = now

    def _begin(self, now: float) -> _UnderWay:
        """It begins with this, unless an announcement that still counts was the first sign."""
        announced, self._announced = self._announced, None
        if announced is not None and self._is_recent(announced, now):
            return _UnderWay(announced, announced)
        return _UnderWay(now)

    def _lose(self, address: str, reason: str, now: float) -> None:
        linked = address in self._links
        self._links.discard(address)
        if reason == GIVEN_UP:
            it = self._under_way.get(address)
            if it is not None and it.replaced != address:  # else another has taken that address
                del self._under_way[address]
            return
        self._linked = None
        if any(it.replaced == address for it in self._under_way.values()):
            return
        it = self._under_way.get(address)
        if it is None or (linked and not self._is_recent(it.since, now)):
            self._under_way[address] = self._begin(now)

    def _replace(self, old: str, new: str, now: float) -> tuple[Span, ...]:
        if new in self._links and new != old and old not in self._under_way:
            return ()  # it took over from one that nobody missed
        self._move(old, new, now)
        self._under_way[new].replaced = old
        self._links.discard(old)
        return self._end(new, now) if new in self._links else ()

    def _move(self, old: str, new: str, now: float) -> None:
        it = self._under_way.pop(old, None) or self._begin(now)
        it.named = now if it.named is None else it.named
        it.moved = now
        self._under_way[new] = it

    def _end(self, address: str, now: float) -> tuple[Span, ...]:
        self._announced = None
        it = self._under_way.pop(address, None)
        if it is None or it.named is None or it.moved is None:
            return ()
        self._linked = now
        return (
            Span(Phase.ELECTION, it.since, it.named),
            Span(Phase.AGREEMENT, it.named, it.moved),
            Span(Phase.CONNECTION, it.moved, now),
            Span(Phase.WHOLE, it.since, now),
        )

    def _resume(self, now: float) -> tuple[Span, ...]:
        linked, self._linked = self._linked, None
        if linked is None or now - linked > RECOVERY_HOLDS:
            return ()
        return (Span(Phase.FIRST_WRITE, linked, now),)

    @staticmethod
    def _is_recent(sign: float | None, now: float) -> bool:
        return sign is not None and now - sign <= ANNOUNCEMENT_HOLDS
