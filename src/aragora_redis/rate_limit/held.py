"""What an instance has reserved without Redis: what is open, and what has become of the rest. Pure.

It is held here until it ends, or until Redis holds it: then it is a reservation like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from ..errors import OverloadedError
from .local import LocalLimiter, Record
from .policy import LimitPolicy
from .reservation import LATE, Found, Reservation, Settlement, settlement
from .share import Share

KEPT_HERE: Final = 10_000
"""Reservations made without Redis that may be open, and as many that are over and remembered."""


@dataclass(slots=True)
class Held:
    """A reservation that was decided without Redis. Times are monotonic seconds.

    Attributes:
        share: under which its tokens were taken.
        under: the limit under which they were.
        cost: whole tokens that it holds; 0 once it has lapsed.
        ended: what became of it, once it is settled.
    """

    made: Reservation
    limiter: LocalLimiter
    record: Record
    share: Share
    under: LimitPolicy
    cost: int
    since: float
    until: float
    ended: Settlement | None = None

    def release(self, used: int, now: float) -> None:
        """Give back here what it holds and was not used."""
        release, share = self.limiter.release, self.share
        release(self.record, self.cost, used, share, now, under=self.under, since=self.since)


class HeldHere:
    """The reservations of this instance that Redis does not know."""

    def __init__(self) -> None:
        self._open: dict[str, Held] = {}
        self._over: dict[str, Held] = {}
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Held]:
        return iter([*self._open.values()])

    def known(self, name: str) -> Held | None:
        """The reservation of that name, an open one or one that is over."""
        return self._open.get(name) or self._over.get(name)

    def require_room(self, now: float) -> None:
        """Accept that there will be another one.

        Raises:
            OverloadedError: too many are open.
        """
        self.lapse(now)
        if len(self._open) >= KEPT_HERE:
            raise OverloadedError(f"{KEPT_HERE} reservations made without Redis are open")

    def add(self, held: Held) -> None:
        """Keep one whose tokens were taken."""
        self._open[held.made.name] = held
        held.record.untold += 1
        self._ends_at(held)

    def _ends_at(self, held: Held) -> None:
        heappush(self._ends, (held.until, held.made.name))
        if len(self._ends) > 2 * KEPT_HERE:
            self._ends = [(each.until, name) for name, each in self._open.items()]
            heapify(self._ends)

    def keep(self, held: Held, until: float, now: float) -> int | None:
        """Let one lapse later; how many tokens it holds, or None of one that has lapsed."""
        self.lapse(now)
        if held.ended is not None:
            return 0
        if held.made.name not in self._open:
            return None
        if until > held.until:
            held.until = until
            self._ends_at(held)
        return held.cost

    def forget(self, held: Held) -> None:
        """Redis holds it anew."""
        self._over.pop(held.made.name, None)

    def end(self, held: Held, used: int, now: float) -> Settlement:
        """Settle one; a second time it is told what the first one did, and nothing is done."""
        self.lapse(now)
        if held.ended is not None:
            return held.ended
        if now >= held.until + LATE:
            return settlement(held.cost, used, Found.PAST, 0)
        found = Found.HELD if now < held.until else Found.LAPSED
        held.release(used, now)
        held.ended = settlement(held.cost, used, found, 0, confirmed=False)
        if self._take_out(held):
            self._remember(held)
        return held.ended

    def lapse(self, now: float) -> None:
        """Give back what nobody has settled in time."""
        while self._ends and self._ends[0][0] <= now:
            held = self._open.get(heappop(self._ends)[1])
            if held is not None and held.until <= now and self._take_out(held):
                held.release(0, now)
                held.cost = 0
                self._remember(held)

    def entrusted(self, held: Held) -> None:
        """Redis holds it, unless it has ended here meanwhile."""
        self._take_out(held)

    def put_last(self, held: Held) -> None:
        """Redis could not be told of it: others come first, since its shard alone may be down."""
        name = held.made.name
        if name in self._open:
            self._open[name] = self._open.pop(name)

    def _take_out(self, held: Held) -> bool:
        if self._open.pop(held.made.name, None) is None:
            return False
        held.record.untold -= 1
        return True

    def _remember(self, held: Held) -> None:
        """For who settles it again, or late; the oldest is forgotten where there are too many."""
        if len(self._over) >= KEPT_HERE:
            del self._over[next(iter(self._over))]
        self._over[held.made.name] = held
