"""Events as lines of the log: one for each thing that an operator acts on, none for a request."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from ..events import (
    CircuitChanged,
    ClockSkew,
    Degraded,
    EpochReset,
    EraChanged,
    Event,
    Events,
    FullSync,
    LinkLost,
    LinkUp,
    Recovered,
    SentinelsSplit,
    SwitchAnnounced,
    Unreachable,
    ViewChanged,
)

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
            case Unreachable(server, reason):
                # After it was linked once, `Degraded` is the warning, and this only says why.
                level = logging.INFO if self._linked else logging.WARNING
                _log.log(level, "%s cannot be used: %s", server, reason)
            case _:
                self._linked |= isinstance(event, LinkUp)
                _log_one(event)

    def _flush_soon(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(GATHER, self._flush)

    def _flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        eras, self._eras = self._eras, []
        syncs, self._syncs = self._syncs, []
        if eras:
            _log.info(
                "the data of %d token shards began a new history: "
                "%d own and %d learned revocations are published again",
                len({event.shard for event in eras}),
                sum(event.republish_own for event in eras),
                sum(event.republish_learned for event in eras),
            )
        if syncs:
            _log.info(
                "%d token shards were compared in full: %d revocations learned, %d published again",
                len({event.shard for event in syncs}),
                sum(event.pulled for event in syncs),
                sum(event.pushed for event in syncs),
            )


def _log_one(event: Event) -> None:
    match event:
        case Degraded(reason):
            _log.warning("degraded: Redis cannot be used: %s", reason)
        case Recovered(after):
            _log.warning("recovered: operations reach Redis again, after %.1f s", after)
        case CircuitChanged(circuit, state, _, source):
            level = logging.INFO if state == "closed" else logging.WARNING
            _log.log(level, "circuit %s is %s (decided by %s)", circuit, state, source)
        case ClockSkew(seconds):
            _log.critical(
                "Redis's clock is %+.0f s from ours: revocations are not compared until they agree",
                seconds,
            )
        case LinkUp(address, lane, after):
            _log.info("linked to %s (%s lane, %.3f s without)", address, lane, after)
        case LinkLost(address, lane, reason):
            _log.info("the link to %s is lost (%s lane): %s", address, lane, reason)
        case _:
            _log_view(event)


def _log_view(event: Event) -> None:
    """What the Sentinels say."""
    match event:
        case ViewChanged(None, new, epoch):
            _log.info("the primary is %s (epoch %d)", new, epoch)
        case ViewChanged(old, new, epoch):
            _log.warning("failover: the primary was %s and is %s (epoch %d)", old, new, epoch)
        case EpochReset(address, old_epoch, new_epoch):
            _log.warning(
                "epoch %d of %s was accepted after %d: the Sentinels were rebuilt",
                new_epoch,
                address,
                old_epoch,
            )
        case SentinelsSplit(detail):
            _log.critical(
                "the Sentinels belong to groups that do not know each other, "
                "correct the list of hosts: %s",
                detail,
            )
        case SwitchAnnounced(sentinel):
            _log.info("Sentinel %s announced another primary: writes wait", sentinel)


def configure_logging(level: str) -> None:
    """Log to stderr from `level` on; what the HTTP server says of itself only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
