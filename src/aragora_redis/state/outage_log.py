"""Outages in the log of a service that has no other log of events: one line each way."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..events import Degraded, Event, Events, LinkUp, Recovered, Unreachable

_log = logging.getLogger(__name__)


class OutageLog:
    """Says that Redis cannot be used, and that it can again, while nobody else logs the events.

    Args:
        why: why the Redis of some features, or that of all, cannot be written now, or None: the
            cause itself, where an event has only what an operation was told of it.
    """

    def __init__(self, events: Events, *, why: Callable[[tuple[str, ...]], str | None]) -> None:
        self._events = events
        self._why = why
        self._tried: set[tuple[str, ...]] = set()
        self._waiting: set[tuple[str, ...]] = set()

    def listen(self) -> Callable[[], None]:
        """Begin; the returned call ends it."""
        self._tried.clear()
        self._waiting.clear()
        return self._events.subscribe(self._hear, to=(LinkUp, Unreachable, Degraded, Recovered))

    def _hear(self, event: Event) -> None:
        match event:
            case LinkUp(features=features):
                self._tried.add(features)
            case Unreachable(reason=reason, features=features):
                self._tried.add(features)
                if features in self._waiting:
                    self._waiting.remove(features)
                    self._begins(reason, features)
            case Degraded(reason, features=features):
                # A server that is silent has operations fail before it is given up itself.
                if features in self._tried:
                    self._begins(reason, features)
                else:
                    self._waiting.add(features)
            case Recovered(features=features):
                if features not in self._waiting:
                    self._tell(event)
                self._waiting.discard(features)

    def _begins(self, reason: str, features: tuple[str, ...]) -> None:
        self._tell(Degraded(self._why(features) or reason, features=features))

    def _tell(self, event: Degraded | Recovered) -> None:
        if not self._events.logged:
            _log.warning("%s", told_of_outage(event))


def told_of_outage(event: Degraded | Recovered) -> str:
    """Such an event in words."""
    if isinstance(event, Degraded):
        return f"degraded: {event.redis} cannot be used: {event.reason}"
    return f"recovered: operations reach {event.redis} again, after {event.after:.1f} s"
