"""Events as lines of the log: one for each thing that an operator acts on, none for a request."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from ..events import EraChanged, Event, Events, FullSync, LinkUp, Unreachable
from .words import Told, told, told_eras, told_syncs

_log = logging.getLogger(__name__)

GATHER = 1.0
"""Seconds over which what happens to many shards at once becomes one line."""
_FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
_CHATTY = ("uvicorn", "asyncio")


class EventLog:
    """Writes events to the log, in the loop that emits them."""

    def __init__(self) -> None:
        self._eras: list[EraChanged] = []
        self._syncs: list[FullSync] = []
        self._due: asyncio.TimerHandle | None = None
        self._linked = False

    def listen(self, events: Events) -> Callable[[], None]:
        """Log these events; the returned call ends it."""
        unsubscribe = events.subscribe(self._on_event)

        def end() -> None:
            unsubscribe()
            self._flush()

        return end

    def _on_event(self, event: Event) -> None:
        match event:
            case EraChanged():
                self._eras.append(event)
                self._flush_soon()
            case FullSync():
                self._syncs.append(event)
                self._flush_soon()
            case _:
                self._linked |= isinstance(event, LinkUp)
                self._write(told(event), why=isinstance(event, Unreachable))

    def _write(self, line: Told | None, *, why: bool) -> None:
        if line is not None:
            # After it was linked once, `Degraded` is the warning, and this only says why.
            level = logging.INFO if why and self._linked else line.level
            _log.log(level, "%s", line.text)

    def _flush_soon(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(GATHER, self._flush)

    def _flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        eras, self._eras = self._eras, []
        syncs, self._syncs = self._syncs, []
        for line in ([told_eras(eras)] if eras else []) + ([told_syncs(syncs)] if syncs else []):
            _log.log(line.level, "%s", line.text)


def configure_logging(level: str) -> None:
    """Log to stderr from `level` on; what the HTTP server says of itself only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
