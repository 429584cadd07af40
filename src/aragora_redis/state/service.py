"""Whether operations reach Redis, said once when it changes and not once a request."""

from __future__ import annotations

from collections.abc import Callable

from ..clock import Clock
from ..errors import AragoraRedisError, LinkDownError, RefusedError
from ..events import Degraded, Events, Recovered


class Service:
    """Turns the outcomes of operations into `Degraded` and `Recovered`.

    Args:
        whole: whether all of Redis can be written: one primary's answer says nothing of another.
    """

    def __init__(
        self,
        clock: Clock,
        events: Events,
        *,
        whole: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._events = events
        self._whole = whole
        self._since = 0.0
        self.degraded: str | None = None
        """Why operations are answered without Redis, or None."""

    def answered(self) -> None:
        """A write succeeded."""
        if self.degraded is None or not self._whole():
            return
        self.degraded = None
        self._events.emit(Recovered(self._clock.monotonic() - self._since))

    def failed(self, error: AragoraRedisError) -> None:
        """An operation did not. A single slow answer is no outage; the link says when it is."""
        if self.degraded is None and isinstance(error, LinkDownError | RefusedError):
            self.degraded = str(error)
            self._since = self._clock.monotonic()
            self._events.emit(Degraded(self.degraded))
