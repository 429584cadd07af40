"""What was read of sessions within the last seconds, for the time that Redis cannot be asked."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from ..clock import Clock
from ..sessions.stored import Moved, Stored

KEEP_FOR = 10.0
"""Seconds for which a copy may be given: about a failover, with what it takes to notice it."""
COPIES = 4096
BYTES = 32 * 1024 * 1024


class _Copy(NamedTuple):
    read: Stored | Moved
    at: float
    until: float
    size: int


class Copies:
    """The sessions, and traces of rotated ids, read last; bounded in number and bytes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._copies: OrderedDict[bytes, _Copy] = OrderedDict()
        self._bytes = 0

    def put(self, member: bytes, read: Stored | Moved) -> None:
        """Keep what was just read or written."""
        self.drop(member)
        lasts, size = KEEP_FOR, 0
        if isinstance(read, Stored):
            lasts = min(KEEP_FOR, read.idle, read.expires_at - read.told_at)
            size = read.size
        now = self._clock.monotonic()
        self._copies[member] = _Copy(read, now, now + lasts, size)
        self._bytes += size
        while len(self._copies) > COPIES or self._bytes > BYTES:
            self.drop(next(iter(self._copies)))

    def get(self, member: bytes, *, within: float = KEEP_FOR) -> Stored | Moved | None:
        """The copy, if it is of the last seconds and the session's own time is not over."""
        copy, now = self._copies.get(member), self._clock.monotonic()
        if copy is None or now > min(copy.until, copy.at + within):
            return None
        return copy.read

    def drop(self, member: bytes) -> None:
        """Forget a copy: the session has changed, or may have."""
        copy = self._copies.pop(member, None)
        if copy is not None:
            self._bytes -= copy.size
