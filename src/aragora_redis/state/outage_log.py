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
        self._tried = False
        self._waiting: set[tuple[str, ...]] = set()

    def listen(self) -> Callable[[], None]:
        """Begin; the returned call ends it."""
        self._tried = False
        self._waiting.clear()
        return self._events.subscribe(self._hear, to=(LinkUp, Unreachable, Degraded, Recovered))

    def _hear(self, event: Event) -> None:
        match event:
            case LinkUp():
                self._tried = True
            case Unreachable(_, reason):
                self._tried = True
                waiting, self._waiting = self._waiting, set()
                for features in sorted(waiting):
                    self._tell(Degraded(self._why(features) or reason, features))
            case Degraded(reason, features):
                # A server that is silent has operations fail before it is given up itself.
                if self._tried:
                    self._tell(Degraded(self._why(features) or reason, features))
                else:
                    self._waiting.add(features)
            case Recovered(features=features):
                if features not in self._waiting:
                    self._tell(event)
                self._waiting.discard(features)

    def _tell(self, event: Degraded | Recovered) -> None:
        if not self._events.logged:
            _log.warning("%s", told_of_outage(event))


def told_of_outage(event: Degraded | Recovered) -> str:
    """Such an event in words."""
    redis = f"the Redis of {', '.join(event.features)}" if event.features else "Redis"
    if isinstance(event, Degraded):
        return f"degraded: {redis} cannot be used: {event.reason}"
    return f"recovered: operations reach {redis} again, after {event.after:.1f} s"
