"""Events as lines of the log: one for each thing that an operator acts on, none for a request."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from ..events import Event, Events, LinkUp, OfRedis, Unreachable
from ..settings.model import LogFormat
from .words import TOGETHER, Told, told, told_together

_log = logging.getLogger(__name__)

GATHER = 1.0
"""Seconds over which what happens to many shards at once becomes one line."""
_FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
_CHATTY = ("uvicorn", "asyncio", "httpx", "httpcore")


class EventLog:
    """Writes events to the log, in the loop that emits them."""

    def __init__(self) -> None:
        self._gathered: dict[type[Event], list[Event]] = {kind: [] for kind in TOGETHER}
        self._due: asyncio.TimerHandle | None = None
        self._linked: set[tuple[str, ...]] = set()
        """The features whose Redis was linked to once."""

    def listen(self, events: Events) -> Callable[[], None]:
        """Log these events; the returned call ends it."""
        unsubscribe = events.subscribe(self._on_event, logs=True)

        def end() -> None:
            unsubscribe()
            self._flush()

        return end

    def _on_event(self, event: Event) -> None:
        if (gathered := self._gathered.get(type(event))) is not None:
            gathered.append(event)
            self._flush_soon()
        else:
            if isinstance(event, LinkUp):
                self._linked.add(event.features)
            self._write(told(event), event)

    def _write(self, line: Told | None, event: Event) -> None:
        if line is not None:
            # After it was linked once, `Degraded` is the warning, and this only says why.
            why = isinstance(event, Unreachable) and event.features in self._linked
            _log.log(logging.INFO if why else line.level, "%s", line.text, extra={"event": event})

    def _flush_soon(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(GATHER, self._flush)

    def _flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        for events in self._gathered.values():
            if events:
                line = told_together(events)
                _log.log(line.level, "%s", line.text)
                events.clear()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: when, how severe, who says it, what, and an event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat("T", "milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _text(record.getMessage()),
        }
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            line["event"] = type(event).__name__
            for name in event.__struct_fields__:
                value = getattr(event, name)
                if isinstance(event, OfRedis) and name == "features" and not value:
                    continue  # it is of the one that all have
                shown = f"event_{name}" if name in line else name
                line[shown] = _plain(value)
        if record.exc_info:
            line["traceback"] = _text(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = _text(record.stack_info)
        return msgspec.json.encode(line).decode()


def _plain(value: object) -> Any:
    if type(value) is tuple:  # and no address
        return [_plain(each) for each in value]
    return value if value is None or type(value) in (bool, int, float) else _text(str(value))


def _text(value: str) -> str:
    """A text that any reader of JSON takes: half a character would cost the whole line."""
    return str.__str__(value).encode("utf-8", "backslashreplace").decode()


def configure_logging(level: str, style: LogFormat = "text") -> None:
    """Log to stderr from `level` on; what HTTP libraries say of themselves only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
