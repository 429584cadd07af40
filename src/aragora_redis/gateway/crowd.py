"""All who are connected to a worker: how many may be, whom time runs out for, and who has to go.

A connection costs a descriptor and some memory, whoever holds it. So there is room for so many. Who
comes when it is full is let in all the same, and who has been waited for longest goes: those first
who have proved nothing, so that strangers push out only each other. A request that is worked on is
never broken off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import StrEnum
from heapq import nsmallest
from typing import Protocol

from ..clock import SYSTEM_CLOCK, Clock
from ..events import ClientsTurnedAway, Events
from ..settings import HttpLimits

SWEEP = 1.0
"""Seconds between two looks at all of them."""
TOLD_EVERY = 10.0
"""Seconds between two lines about who was turned away, so that clients cannot fill a log."""
SHARE = 16
"""To look for who has to go costs time for each that is there: a sixteenth of them go at once."""


class Why(StrEnum):
    """Why a connection was ended."""

    SLOW_HEAD = "slow-head"
    LARGE_HEAD = "large-head"
    NOT_HTTP = "not-http"
    UPGRADE = "upgrade"
    PIPELINED = "pipelined"
    UNREAD = "unread"
    ROOM = "room"
    FULL = "full"
    ADDRESS = "address"


class Member(Protocol):
    """A connection."""

    address: str
    """Of whom it is: an address, or a network that one customer has."""

    @property
    def proven(self) -> bool:
        """Whether a token was accepted on it."""

    def awaited_since(self) -> float | None:
        """When the client was left to act (monotonic seconds); None while it is not its turn."""

    def overdue(self, now: float) -> Why | None:
        """What the client should have done by now."""

    def end(self, why: Why) -> None:
        """End it; it leaves once nothing more is to be sent."""


class Crowd:
    """The connections of one worker.

    Args:
        limits: what they may take.
        events: told, now and then, how many were turned away.
        clock: the source of time.
    """

    def __init__(self, limits: HttpLimits, events: Events, clock: Clock = SYSTEM_CLOCK) -> None:
        self.limits = limits
        self._events = events
        self._clock = clock
        self._members: set[Member] = set()
        self._by_address: Counter[str] = Counter()
        self._turned_away: Counter[Why] = Counter()
        self._told_at = clock.monotonic() - TOLD_EVERY
        self._sweeping = False

    def __len__(self) -> int:
        return len(self._members)

    def admit(self, member: Member) -> bool:
        """Let a connection in; False where it has to be ended at once."""
        most = self.limits.max_per_address
        if most and self._by_address[member.address] >= most:
            self.turned_away(Why.ADDRESS)
            return False
        if len(self._members) >= self.limits.max_connections and not self._make_room():
            self.turned_away(Why.FULL)
            return False
        self._members.add(member)
        self._by_address[member.address] += 1
        self._sweep_later()
        return True

    def leave(self, member: Member) -> None:
        """A connection has ended, or is about to."""
        if member not in self._members:
            return
        self._members.remove(member)
        self._by_address[member.address] -= 1
        if not self._by_address[member.address]:
            del self._by_address[member.address]

    def turned_away(self, why: Why) -> None:
        """Count a connection that is ended."""
        self._turned_away[why] += 1
        self._sweep_later()

    def sweep(self) -> None:
        """End those whose time is up, and tell how many were turned away."""
        now = self._clock.monotonic()
        for member in [*self._members]:
            if (why := member.overdue(now)) is not None:
                self._end(member, why)
        if self._turned_away and now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            told, self._turned_away = self._turned_away, Counter()
            for why, count in told.items():
                self._events.emit(ClientsTurnedAway(why.value, count))

    def _make_room(self) -> bool:
        waited_for = [
            (member.proven, since, id(member), member)
            for member in self._members
            if (since := member.awaited_since()) is not None
        ]
        longest = nsmallest(max(1, len(self._members) // SHARE), waited_for)
        strangers = [each for each in longest if not each[0]]
        for _, _, _, member in strangers or longest[:1]:
            self._end(member, Why.ROOM)
        return bool(longest)

    def _end(self, member: Member, why: Why) -> None:
        self.turned_away(why)
        member.end(why)

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP, self._sweep_on)

    def _sweep_on(self) -> None:
        self._sweeping = False
        self.sweep()
        if self._members or self._turned_away:
            self._sweep_later()
