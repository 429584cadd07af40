"""Who decided since it was last asked."""

from __future__ import annotations

from collections.abc import Callable

from ..events import UNAVAILABLE, Decided, Event, Events
from ..rate_limit.gcra import Source

_WITHOUT = frozenset({Source.LOCAL, UNAVAILABLE})


class Tally:
    """Counts decisions on rate limits, once it listens."""

    def __init__(self) -> None:
        self._by_redis = self._without = 0

    def listen(self, events: Events) -> Callable[[], None]:
        """Begin; the returned call ends it."""
        return events.subscribe(self._hear, to=(Decided,))

    def take(self) -> str:
        """Those of Redis and those made without, in words; counting begins anew."""
        told = f"{self._by_redis} {self._without}"
        self._by_redis = self._without = 0
        return told

    def _hear(self, event: Event) -> None:
        if isinstance(event, Decided):
            if event.source in _WITHOUT:
                self._without += 1
            else:
                self._by_redis += 1
