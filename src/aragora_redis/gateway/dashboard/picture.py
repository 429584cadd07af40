"""All that the dashboard shows, as one value, and who gathers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ...clock import Clock
from ...events import Decided, Degraded, Event, Events, LinkLost, LinkUp, Recovered, ViewChanged
from ...lab import LabStatus
from ...operation import Lane
from ...state.circuits.status import CircuitStatus
from ...state.status import RedisStatus, Status
from ...telemetry.words import Told
from .figures import Counted, Figures
from .journal import Entry, Journal
from .servers import Sight
from .timeline import Instant, Interruption, Reign, Timelines

_OfRedis = TypeVar("_OfRedis", Interruption, Reign)


@dataclass(frozen=True, slots=True)
class Scene:
    """One Redis.

    Attributes:
        redis: as this instance sees it.
        sight: what its servers say.
    """

    redis: RedisStatus
    sight: Sight

    @property
    def features(self) -> str:
        """Those whose Redis it is; empty where it is that of all."""
        return ", ".join(self.redis.features)

    @property
    def title(self) -> str:
        """What it is called where it is one of several."""
        return f"The Redis of {self.features}"

    def of_it(self, several: Iterable[_OfRedis]) -> list[_OfRedis]:
        """The outages or primaries that are its own."""
        return [each for each in several if each.features == self.redis.features]


@dataclass(frozen=True, slots=True)
class LabPicture:
    """A lab as it was last seen.

    Attributes:
        status: None while it was not seen yet.
        trouble: why it could not be looked at.
    """

    status: LabStatus | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Doing:
    """What is done from here by hand.

    Attributes:
        working: the act that is under way.
        said: how the last one came out.
    """

    working: str | None = None
    said: Told | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The processes that share the port.

    Attributes:
        number: of the one that answers, from 0.
        count: how many there are.
        silent: how many others did not tell their figures.
    """

    number: int = 0
    count: int = 1
    silent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One moment.

    Attributes:
        ongoing: the outages that have not ended, the oldest first.
        over: the last that have, the newest first.
        reigns: the primaries.
        meanwhile: decisions on rate limits since the first of the last outages began, by source.
        figures: what is counted, by all workers together.
        sights: what the servers of each Redis say.
        circuits: those in use; None before they were seen.
        lab: None where there is none to act on.
        names: of the lab's servers, by address.
    """

    status: Status
    at: Instant
    instance: str = ""
    ongoing: tuple[Interruption, ...] = ()
    over: tuple[Interruption, ...] = ()
    reigns: tuple[Reign, ...] = ()
    meanwhile: Mapping[str, int] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    journal: tuple[Entry, ...] = ()
    sights: tuple[Sight, ...] = ()
    circuits: tuple[CircuitStatus, ...] | None = None
    lab: LabPicture | None = None
    doing: Doing = field(default_factory=Doing)
    workers: Workers = field(default_factory=Workers)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """Each Redis, in the order of the features."""
        seen = {sight.features: sight for sight in self.sights}
        return tuple(
            Scene(redis, seen.get(redis.features, Sight())) for redis in self.status.each_redis
        )

    def redis_of(self, it: Interruption) -> RedisStatus:
        """That which an outage is one of."""
        every = self.status.each_redis
        return next((each for each in every if each.features == it.features), every[0])

    def name(self, address: str) -> str:
        """What a server is called here."""
        known = self.names.get(address)
        return f"{known} ({address})" if known else address

    def short(self, address: str) -> str:
        """What a server is called here, in one word."""
        return self.names.get(address, address)


class Changed(Protocol):
    """Is told that something has happened to the servers."""

    def __call__(self, *, settled: bool) -> None:
        """Take note; `settled` where it has come to its end."""


class Observer:
    """Listens to events from now on, and knows what they came to.

    Args:
        timelines: of each Redis.
        counted: counts what is counted.
        changed: told that something has happened to the servers, and whether that has settled.
    """

    def __init__(
        self,
        *,
        timelines: Timelines,
        counted: Counted,
        journal: Journal,
        clock: Clock,
        changed: Changed,
    ) -> None:
        self._counted = counted
        self._journal = journal
        self._clock = clock
        self._changed = changed
        self._meanwhile: Counter[str] = Counter()
        self.timelines = timelines

    def listen(self, events: Events) -> Callable[[], None]:
        """Follow these events; the returned call ends it."""
        return events.subscribe(self._see)

    @property
    def meanwhile(self) -> Mapping[str, int]:
        """Decisions since the first of the last outages began, by source."""
        return self._meanwhile

    def now(self) -> Instant:
        """This moment."""
        return Instant(self._clock.monotonic(), self._clock.wall())

    def _see(self, event: Event) -> None:
        self._counted.see(event, self._clock.monotonic())
        if isinstance(event, Decided):
            if self.timelines.ongoing:
                self._meanwhile[event.source] += 1
            return
        whole = not self.timelines.ongoing
        self.timelines.see(event, self.now())
        if whole and self.timelines.ongoing:
            self._meanwhile = Counter()
        self._journal.see(event)
        match event:
            case LinkLost(lane=Lane.FAST) | LinkUp(lane=Lane.FAST):
                self._tell_of_change()
            case ViewChanged() | Degraded() | Recovered():
                self._tell_of_change()

    def _tell_of_change(self) -> None:
        self._changed(settled=not self.timelines.ongoing)
