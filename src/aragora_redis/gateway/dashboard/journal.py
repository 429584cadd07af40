"""The last things that happened, in words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...clock import Clock
from ...events import EraChanged, Event, FullSync, LinkLost, LinkUp
from ...operation import Lane
from ...telemetry.logs import GATHER
from ...telemetry.words import Told, told, told_eras, told_syncs

KEPT = 50
_EventT = TypeVar("_EventT", bound=Event)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `at` is Unix seconds, `level` is one of `logging`."""

    at: float
    level: int
    text: str


class Journal:
    """Keeps the last 50 lines: what the log says, less what only repeats it for other lanes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._eras = _Burst(told_eras)
        self._syncs = _Burst(told_syncs)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The newest first."""
        return tuple(reversed(self._entries))

    def note(self, line: Told) -> None:
        """Add a line."""
        self._entries.append(Entry(self._clock.wall(), line.level, line.text))

    def see(self, event: Event) -> None:
        """Add an event's line, if it has one."""
        match event:
            case LinkUp(lane=lane) | LinkLost(lane=lane) if lane != Lane.FAST:
                return
            case EraChanged():
                self._gather(self._eras, event)
            case FullSync():
                self._gather(self._syncs, event)
            case _:
                line = told(event)
                if line is not None:
                    self.note(line)

    def _gather(self, burst: _Burst[_EventT], event: _EventT) -> None:
        before = burst.entry
        after = burst.take(event, self._clock.wall())
        if before is not None and before.at == after.at and before in self._entries:
            self._entries[self._entries.index(before)] = after
        else:
            self._entries.append(after)


class _Burst(Generic[_EventT]):
    """What happens to many shards at once, as one line that grows."""

    def __init__(self, words: Callable[[Sequence[_EventT]], Told]) -> None:
        self._words = words
        self._events: list[_EventT] = []
        self.entry: Entry | None = None

    def take(self, event: _EventT, now: float) -> Entry:
        """The line with this event in it: the last one, unless that is over."""
        if self.entry is None or now - self.entry.at > GATHER:
            self._events = []
        begun = self.entry.at if self.entry is not None and self._events else now
        self._events.append(event)
        line = self._words(self._events)
        self.entry = Entry(begun, line.level, line.text)
        return self.entry
