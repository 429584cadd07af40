"""All that the dashboard shows, as one value, and who gathers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...clock import Clock
from ...events import Decided, Event, Events
from ...lab import LabStatus
from ...state.status import Status
from ...telemetry.words import Told
from .journal import Entry, Journal
from .rates import Rate, Rates
from .timeline import Instant, Interruption, Reign, Timeline


@dataclass(frozen=True, slots=True)
class LabPicture:
    """A lab as it was last seen.

    Attributes:
        status: None while it was not seen yet.
        trouble: why it could not be looked at.
        working: the action that is under way.
        said: how the last one came out.
    """

    status: LabStatus | None = None
    trouble: str | None = None
    working: str | None = None
    said: Told | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One moment. `lab` is None where there is none to act on."""

    status: Status
    at: Instant
    interruption: Interruption | None = None
    reign: Reign | None = None
    rates: tuple[Rate, ...] = ()
    journal: tuple[Entry, ...] = ()
    lab: LabPicture | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of the lab's servers by address."""

    def name(self, address: str) -> str:
        """What a server is called here."""
        known = self.names.get(address)
        return f"{known} ({address})" if known else address


class Observer:
    """Listens to events from now on, and tells the picture at any time."""

    def __init__(
        self,
        status: Callable[[], Status],
        lab: Callable[[], LabPicture] | None,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._status = status
        self._lab = lab
        self._journal = journal
        self._clock = clock
        self._timeline = Timeline()
        self._rates = Rates()

    def listen(self, events: Events) -> Callable[[], None]:
        """Follow these events; the returned call ends it."""
        return events.subscribe(self._see)

    def picture(self) -> Picture:
        """Now."""
        now = self._now()
        lab = self._lab() if self._lab is not None else None
        nodes = lab.status.nodes if lab is not None and lab.status is not None else ()
        return Picture(
            status=self._status(),
            at=now,
            interruption=self._timeline.last,
            reign=self._timeline.reign,
            rates=self._rates.last_minute(now.monotonic),
            journal=self._journal.entries,
            lab=lab,
            names={str(node.address): node.name for node in nodes},
        )

    def _see(self, event: Event) -> None:
        if isinstance(event, Decided):
            self._rates.count(event.source, allowed=event.allowed, now=self._clock.monotonic())
            return
        self._timeline.see(event, self._now())
        self._journal.see(event)

    def _now(self) -> Instant:
        return Instant(self._clock.monotonic(), self._clock.wall())
