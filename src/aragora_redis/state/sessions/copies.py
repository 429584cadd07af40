"""What was read of sessions within the last seconds.

It is given while Redis cannot be asked, and not sent again while it is what is stored.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from ...clock import Clock
from ...sessions.stored import Moved, Stored

KEEP_FOR = 10.0
"""Seconds for which a copy may be given: about a failover, with what it takes to notice it."""
COPIES = 4096
BYTES = 32 * 1024 * 1024


class _Copy(Struct, gc=False):
    read: Stored | Moved
    at: float
    until: float
    size: int
    whole_until: float


class Copies:
    """The sessions, and traces of rotated ids, read last; bounded in number and bytes."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._copies: OrderedDict[bytes, _Copy] = OrderedDict()
        self._bytes = 0

    def put(self, member: bytes, read: Stored | Moved) -> None:
        """Keep what was just read or written."""
        self.drop(member)
        now = self._monotonic()
        lasts, size, whole_for = KEEP_FOR, 0, 0.0
        if isinstance(read, Stored):
            lasts, size, whole_for = _lasts(read), read.size, _whole_for(read)
        self._copies[member] = _Copy(read, now, now + lasts, size, now + whole_for)
        self._bytes += size
        while len(self._copies) > COPIES or self._bytes > BYTES:
            self.drop(next(iter(self._copies)))

    def confirm(self, member: bytes, read: Stored) -> None:
        """Keep a session that Redis has just said to be as it was read."""
        copy = self._copies.get(member)
        if copy is None:
            self.put(member, read)
            return
        copy.read, copy.at = read, self._monotonic()
        copy.until = copy.at + _lasts(read)
        self._copies.move_to_end(member)

    def get(self, member: bytes, *, within: float = KEEP_FOR) -> Stored | Moved | None:
        """The copy, if it is of the last seconds and the session's own time is not over."""
        copy = self._copies.get(member)
        if copy is None:
            return None
        now = self._monotonic()
        return None if now > copy.until or now > copy.at + within else copy.read

    def whole(self, member: bytes) -> Stored | None:
        """The copy of a session that was read as a whole within the last seconds.

        However often it was confirmed or updated since, it does not hide for longer what else than
        a version may tell: what somebody has put there by hand.
        """
        copy = self._copies.get(member)
        if copy is None or not isinstance(copy.read, Stored):
            return None
        return None if self._monotonic() > copy.whole_until else copy.read

    def drop(self, member: bytes) -> None:
        """Forget a copy: the session has changed, or may have."""
        copy = self._copies.pop(member, None)
        if copy is not None:
            self._bytes -= copy.size


def _whole_for(read: Stored) -> float:
    # The server's clock may have been set back since.
    age = read.told_at - read.whole_at
    return KEEP_FOR - age if 0 <= age <= KEEP_FOR else 0.0


def _lasts(read: Stored) -> float:
    return min(KEEP_FOR, read.idle, read.expires_at - read.told_at)
