"""Who decided since it was last asked."""

from __future__ import annotations

from ..events import UNAVAILABLE, Decided, Event, Events
from ..rate_limit.gcra import Source

_WITHOUT = frozenset({Source.LOCAL, UNAVAILABLE})


class Tally:
    """Counts decisions on rate limits; a listener."""

    def __init__(self, events: Events) -> None:
        self._by_redis = self._without = 0
        events.subscribe(self._hear)

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
