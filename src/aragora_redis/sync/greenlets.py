"""What a greenlet waits on until its call has ended, where gevent has patched `threading`.

Of gevent's loop a thread of ours may use its asynchronous watchers alone.
"""

from __future__ import annotations

from typing import Any

LONGEST = 2_000_000.0
"""Seconds that a greenlet may wait, as a thread may."""


class Bell:
    """Wakes one greenlet, once, from any thread."""

    __slots__ = ("_heard", "_watcher")

    def __init__(self) -> None:
        import gevent.event  # noqa: PLC0415 - it is there already

        self._heard = gevent.event.Event()
        self._watcher: Any = gevent.get_hub().loop.async_()
        self._watcher.start(self._heard.set)

    def wait(self, within: float) -> bool:
        """Whether it rings within so many seconds; to be asked once."""
        try:
            return bool(self._heard.wait(min(max(within, 0.0), LONGEST)))
        finally:
            self._watcher.stop()

    def ring(self) -> None:
        """Wake who waits, or will; nobody where nobody waits any more."""
        self._watcher.send()
