"""An outage as it unfolds for this instance: lost, another primary chosen, back. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...events import Degraded, Event, LinkLost, LinkUp, Recovered, SwitchAnnounced, ViewChanged
from ...operation import Lane
from ...telemetry.failover import ANNOUNCEMENT_HOLDS


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A time in which this instance could not write.

    Attributes:
        began: the link was lost, writes were refused, or the Sentinels announced another primary.
        lost: address of the server that was written until then; empty where none was yet.
        reason: why it could not be written; empty where the Sentinels were first.
        refused: the server is linked, and refuses writes.
        chosen: the primary that the Sentinels named instead, if they did.
        chosen_after: seconds from `began`.
        epoch: of that choice.
        back: address of the server that is written since the end.
        back_after: seconds from `began`; None while it lasts.
    """

    began: Instant
    lost: str
    reason: str = ""
    refused: bool = False
    chosen: str | None = None
    chosen_after: float | None = None
    epoch: int | None = None
    back: str | None = None
    back_after: float | None = None

    def lasted(self, now: float) -> float:
        """Seconds until its end, or until now (monotonic) while it goes on."""
        return now - self.began.monotonic if self.back_after is None else self.back_after


@dataclass(frozen=True, slots=True)
class Reign:
    """Who is primary, and since when that is known here."""

    address: str
    since: float
    """Unix seconds."""
    began_here: bool
    """Whether the change to it was seen; else it may have been primary for longer."""


class Timeline:
    """Follows the events of the fast lane and of the Sentinels."""

    def __init__(self) -> None:
        self.last: Interruption | None = None
        """The interruption that goes on, else the last one."""
        self.reign: Reign | None = None
        self._announced: Instant | None = None
        self._linked: str | None = None
        self._degraded = False

    @property
    def ongoing(self) -> Interruption | None:
        """The interruption that has not ended."""
        return self.last if self.last is not None and self.last.back_after is None else None

    def see(self, event: Event, now: Instant) -> None:
        """Take in an event."""
        match event:
            case LinkLost(address, Lane.FAST, reason):
                self._linked = None
                self._lose(address, reason, now)
            case LinkUp(address, Lane.FAST):
                self._linked = address
                self._end(now)
                self._crown(address, now)
            case Degraded(reason):
                self._degraded = True
                self._begin(self.reign.address if self.reign else "", reason, now)
            case Recovered():
                self._degraded = False
                self._end(now)
            case SwitchAnnounced():
                self._announced = self._announced_since(now) or now
            case ViewChanged(old, new, epoch):
                if old not in (None, new):
                    self._choose(str(old), str(new), epoch, now)
                self._crown(str(new), now)

    def _announced_since(self, now: Instant) -> Instant | None:
        at = self._announced
        return at if at and now.monotonic - at.monotonic <= ANNOUNCEMENT_HOLDS else None

    def _begin(self, lost: str, reason: str, now: Instant) -> None:
        if self.ongoing is None:
            began, refused = self._announced_since(now) or now, self._linked is not None
            self.last = Interruption(began=began, lost=lost, reason=reason, refused=refused)

    def _lose(self, address: str, reason: str, now: Instant) -> None:
        ongoing = self.ongoing
        if ongoing is None:
            self._begin(address, reason, now)
        elif ongoing.refused:  # a server that stands still is given up before its link is closed
            self.last = replace(ongoing, lost=address, reason=reason, refused=False)

    def _choose(self, old: str, new: str, epoch: int | None, now: Instant) -> None:
        self._begin(old, "", now)  # the link to the old one is closed on this very news
        if self.last is not None:
            after = now.monotonic - self.last.began.monotonic
            self.last = replace(self.last, chosen=new, chosen_after=after, epoch=epoch)

    def _end(self, now: Instant) -> None:
        """It ends with a link over which nothing is refused."""
        ongoing = self.ongoing
        if self._linked is None or self._degraded:
            return
        self._announced = None
        if ongoing is not None:
            after = now.monotonic - ongoing.began.monotonic
            self.last = replace(ongoing, back=self._linked, back_after=after)

    def _crown(self, address: str, now: Instant) -> None:
        if self.reign is None or self.reign.address != address:
            self.reign = Reign(address, now.wall, began_here=self.reign is not None)
