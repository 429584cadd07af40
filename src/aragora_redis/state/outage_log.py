"""Outages in the log of a service that has no other log of events: one line each way."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..events import Degraded, Event, Events, LinkUp, Recovered, Unreachable

_log = logging.getLogger(__name__)


class OutageLog:
    """Says that Redis cannot be used, and that it can again, while nobody else logs the events.

    Args:
        why: why Redis cannot be written now, or None: the cause itself, where an event has only
            what an operation was told of it.
    """

    def __init__(self, events: Events, *, why: Callable[[], str | None]) -> None:
        self._events = events
        self._why = why
        self._tried = self._waits = False

    def listen(self) -> Callable[[], None]:
        """Begin; the returned call ends it."""
        self._tried = self._waits = False
        return self._events.subscribe(self._hear, to=(LinkUp, Unreachable, Degraded, Recovered))

    def _hear(self, event: Event) -> None:
        match event:
            case LinkUp():
                self._tried = True
            case Unreachable(_, reason):
                self._tried = True
                if self._waits:
                    self._waits = False
                    self._tell(Degraded(reason))
            case Degraded(reason):
                # A server that is silent has operations fail before it is given up itself.
                self._waits = not self._tried
                if not self._waits:
                    self._tell(Degraded(self._why() or reason))
            case Recovered():
                if not self._waits:
                    self._tell(event)
                self._waits = False

    def _tell(self, event: Degraded | Recovered) -> None:
        if not self._events.logged:
            _log.warning("%s", told_of_outage(event))


def told_of_outage(event: Degraded | Recovered) -> str:
    """Such an event in words."""
    if isinstance(event, Degraded):
        return f"degraded: Redis cannot be used: {event.reason}"
    return f"recovered: operations reach Redis again, after {event.after:.1f} s"
