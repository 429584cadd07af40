"""Outages as they unfold for this instance: lost, another primary chosen, linked, back. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...events import (
    GIVEN_UP,
    Degraded,
    Event,
    LinkLost,
    LinkUp,
    OfRedis,
    Recovered,
    SwitchAnnounced,
    ViewChanged,
)
from ...operation import Lane
from ...telemetry.failover import ANNOUNCEMENT_HOLDS

KEPT = 8
"""Interruptions that are over, and kept."""


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A time in which this instance could not write; in a cluster, to one shard.

    Attributes:
        features: those whose Redis it was; empty where it is that of all.
        began: the link was lost, writes were refused, or the Sentinels announced another primary.
        lost: address of the server that was written until then; empty where that is not known.
        reason: why it could not be written; empty where the Sentinels were first.
        refused: the server is linked, and refuses writes.
        named_after: seconds from `began` until a Sentinel named another primary.
        chosen: the primary that took its place, if one did.
        chosen_after: seconds from `began` until that was believed.
        epoch: of that choice.
        linked_after: seconds from `began` until a primary was linked and verified.
        back: address of the server that is written since the end.
        back_after: seconds from `began`; None while it lasts.
    """

    features: tuple[str, ...] = ()
    began: Instant
    lost: str
    reason: str = ""
    refused: bool = False
    named_after: float | None = None
    chosen: str | None = None
    chosen_after: float | None = None
    epoch: int | None = None
    linked_after: float | None = None
    back: str | None = None
    back_after: float | None = None

    @property
    def holder(self) -> str:
        """The address that is to be written again."""
        return self.chosen or self.lost

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
    features: tuple[str, ...] = ()
    """Those whose Redis it is; empty where it is that of all."""


class Timelines:
    """A `Timeline` for each Redis.

    Args:
        each: by the features whose Redis it is.
    """

    def __init__(self, each: Mapping[tuple[str, ...], Timeline]) -> None:
        self._each = each

    @property
    def ongoing(self) -> tuple[Interruption, ...]:
        """Those that have not ended, the oldest first."""
        found = [it for each in self._each.values() for it in each.ongoing]
        return tuple(sorted(found, key=lambda it: it.began.monotonic))

    @property
    def over(self) -> tuple[Interruption, ...]:
        """The last that have, the newest first."""
        found = [it for each in self._each.values() for it in each.over]
        ended = sorted(found, key=lambda it: it.began.monotonic + (it.back_after or 0.0))
        return tuple(reversed(ended[-KEPT:]))

    @property
    def reigns(self) -> tuple[Reign, ...]:
        """The primaries."""
        return tuple(reign for each in self._each.values() for reign in each.reigns.values())

    def see(self, event: Event, now: Instant) -> None:
        """Take in an event."""
        if isinstance(event, OfRedis) and event.features in self._each:
            self._each[event.features].see(event, now)


class Timeline:
    """Follows the events of the fast lanes and of the Sentinels, or of the nodes of a cluster.

    Args:
        several: there is a primary for each shard, each with outages of its own.
        features: those whose Redis it is; empty where it is that of all.
    """

    def __init__(self, *, several: bool = False, features: tuple[str, ...] = ()) -> None:
        self._several = several
        self._features = features
        self._ongoing: list[Interruption] = []
        self._over: deque[Interruption] = deque(maxlen=KEPT)
        self._reigns: dict[str, Reign] = {}
        self._announced: Instant | None = None
        self._linked: set[str] = set()
        self._renewed: set[str] = set()
        """Where another node has the address of the one before, whose link is closed next."""
        self._degraded = False
        self._began = False
        """Whether there was a primary that could be written."""

    @property
    def ongoing(self) -> tuple[Interruption, ...]:
        """Those that have not ended, the oldest first."""
        return tuple(self._ongoing)

    @property
    def over(self) -> tuple[Interruption, ...]:
        """The last that have, the newest first."""
        return tuple(reversed(self._over))

    @property
    def reigns(self) -> Mapping[str, Reign]:
        """The primaries, by address."""
        return self._reigns

    def see(self, event: Event, now: Instant) -> None:
        """Take in an event."""
        match event:
            case LinkLost(address, Lane.FAST, reason):
                self._linked.discard(address)
                if reason == GIVEN_UP:
                    self._give_up(address, now)
                else:
                    self._lose(address, reason, now)
            case LinkUp(address, Lane.FAST):
                self._renewed.discard(address)
                self._link(address, now)
            case Degraded(reason):
                self._degraded = True
                if not self._ongoing:
                    self._begin(self._only_primary(), reason, now)
            case Recovered():
                self._degraded = False
                self._end_what_is_whole(now)
            case SwitchAnnounced():
                self._announce(now)
            case ViewChanged():
                self._turn(event, now)

    def _only_primary(self) -> str:
        return next(iter(self._reigns)) if len(self._reigns) == 1 else ""

    def _announce(self, now: Instant) -> None:
        self._announced = self._announced_since(now) or now
        for it in self._ongoing:
            if it.named_after is None:
                self._become(it, replace(it, named_after=_after(it, now)))

    def _announced_since(self, now: Instant) -> Instant | None:
        at = self._announced
        return at if at and now.monotonic - at.monotonic <= ANNOUNCEMENT_HOLDS else None

    def _of(self, address: str) -> Interruption | None:
        """The outage of a primary: without shards there is one at a time."""
        if not self._several:
            return self._ongoing[0] if self._ongoing else None
        return next((it for it in self._ongoing if it.holder == address), None)

    def _become(self, before: Interruption, after: Interruption) -> None:
        self._ongoing[self._ongoing.index(before)] = after

    def _begin(self, lost: str, reason: str, now: Instant) -> None:
        announced = self._announced_since(now)
        refused = bool(self._linked) if not lost else lost in self._linked
        self._ongoing.append(
            Interruption(
                features=self._features,
                began=announced or now,
                lost=lost,
                reason=reason,
                refused=refused,
                named_after=0.0 if announced else None,
            )
        )

    def _lose(self, address: str, reason: str, now: Instant) -> None:
        it = self._of(address)
        if it is None and self._several:  # one whose shard nobody could tell was this one's
            it = self._of("")
        if it is None:
            self._begin(address, reason, now)
        elif it.refused:  # a server that stands still is given up before its link is closed
            self._become(it, replace(it, lost=address, reason=reason, refused=False))
        elif it.linked_after is not None:
            self._become(it, replace(it, linked_after=None))

    def _give_up(self, address: str, now: Instant) -> None:
        """Nobody misses who has given its slots away, also where it was lost before that."""
        self._reigns.pop(address, None)
        if address in self._renewed:
            self._renewed.remove(address)
        elif self._several:
            self._ongoing = [it for it in self._ongoing if it.holder != address]
            self._end_what_is_whole(now)

    def _turn(self, event: ViewChanged, now: Instant) -> None:
        old, new = None if event.old is None else str(event.old), str(event.new)
        if old is not None and old != new:
            self._choose(old, new, event.epoch, now)
        elif old is not None and self._several:
            self._renewed.add(new)
        self._crown(new, old, now)

    def _choose(self, old: str, new: str, epoch: int | None, now: Instant) -> None:
        # The link to the old one is closed on this very news.
        self._linked = self._linked - {old} if self._several else self._linked & {new}
        if self._of(old) is None:
            self._begin(old, "", now)
        it = self._of(old)
        if it is None:
            return
        after = _after(it, now)
        named = after if it.named_after is None else it.named_after
        self._become(
            it,
            replace(
                it,
                named_after=named,
                chosen=new,
                chosen_after=after,
                epoch=epoch,
                linked_after=after if new in self._linked else None,
            ),
        )
        self._end_what_is_whole(now)

    def _link(self, address: str, now: Instant) -> None:
        if not self._several:
            self._linked.clear()
        self._linked.add(address)
        it = self._of(address)
        if it is not None and it.linked_after is None:
            self._become(it, replace(it, linked_after=_after(it, now)))
        self._crown(address, None, now)
        self._end_what_is_whole(now)

    def _end_what_is_whole(self, now: Instant) -> None:
        """One ends with a link over which nothing is refused."""
        if not self._ongoing and self._linked and not self._degraded:
            self._began = True
        for it in self.ongoing:
            others = any(not self._is_linked(other) for other in self._ongoing if other is not it)
            # What is degraded may be another shard.
            if not self._is_linked(it) or (self._degraded and not others):
                continue
            self._announced = None
            begins, self._began = not self._began, True
            self._ongoing.remove(it)
            if begins:  # nothing was interrupted: it took so long to begin
                continue
            back = it.holder if it.holder in self._linked else next(iter(self._linked))
            self._over.append(replace(it, back=back, back_after=_after(it, now)))

    def _is_linked(self, it: Interruption) -> bool:
        if not self._several or not it.holder:
            return bool(self._linked)
        return it.holder in self._linked

    def _crown(self, address: str, old: str | None, now: Instant) -> None:
        if address in self._reigns:
            return
        known = bool(self._reigns)
        if not self._several:
            self._reigns.clear()
        elif old is not None:
            known = self._reigns.pop(old, None) is not None
        else:
            known = False
        self._reigns[address] = Reign(address, now.wall, began_here=known, features=self._features)


def _after(it: Interruption, now: Instant) -> float:
    return now.monotonic - it.began.monotonic
