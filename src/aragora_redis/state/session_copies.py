"""What was read of sessions within the last seconds, for the time that Redis cannot be asked."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from ..clock import Clock
from ..sessions.stored import Stored

KEEP_FOR = 10.0
"""Seconds for which a copy may be given: about a failover, with what it takes to notice it."""
COPIES = 4096
BYTES = 32 * 1024 * 1024


class _Copy(NamedTuple):
    stored: Stored
    read_at: float


class Copies:
    """The sessions read last, by digest; bounded in number and bytes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._copies: OrderedDict[bytes, _Copy] = OrderedDict()
        self._bytes = 0

    def put(self, member: bytes, stored: Stored) -> None:
        """Keep what was just read or written."""
        self.drop(member)
        self._copies[member] = _Copy(stored, self._clock.monotonic())
        self._bytes += stored.size
        while len(self._copies) > COPIES or self._bytes > BYTES:
            self.drop(next(iter(self._copies)))

    def get(self, member: bytes) -> Stored | None:
        """The copy, if it is young enough."""
        copy = self._copies.get(member)
        if copy is None or self._clock.monotonic() - copy.read_at > KEEP_FOR:
            return None
        return copy.stored

    def drop(self, member: bytes) -> None:
        """Forget a copy: the session has changed, or may have."""
        copy = self._copies.pop(member, None)
        if copy is not None:
            self._bytes -= copy.stored.size
