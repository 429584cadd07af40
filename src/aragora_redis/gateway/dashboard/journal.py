"""The last things that happened, in words."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ...clock import Clock
from ...events import Acted, Event, LinkLost, LinkUp
from ...operation import Lane
from ...telemetry.logs import GATHER
from ...telemetry.words import TOGETHER, Told, told, told_together

KEPT = 50
WORKTOP = ("lab ", "failover")
"""How actions begin that are done on the dashboard's worktop, which tells what they came to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `at` is Unix seconds, `level` is one of `logging`.

    What is of the `record` of acts is for whoever may read that.
    """

    at: float
    level: int
    text: str
    record: bool = False


class Journal:
    """Keeps the last 50 lines: what the log says, less what only repeats it for other lanes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._bursts: dict[type[Event], _Burst] = {kind: _Burst() for kind in TOGETHER}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The newest first."""
        return tuple(reversed(self._entries))

    def note(self, line: Told, *, record: bool = False) -> None:
        """Add a line; one of the `record` is not for everybody."""
        self._entries.append(Entry(self._clock.wall(), line.level, line.text, record))

    def see(self, event: Event) -> None:
        """Add an event's line, if it has one."""
        match event:
            case LinkUp(lane=lane) | LinkLost(lane=lane) if lane != Lane.FAST:
                return
            case Acted(via="dashboard", action=action) if action.startswith(WORKTOP):
                return  # that has told it itself
            case _ if (burst := self._bursts.get(type(event))) is not None:
                self._gather(burst, event)
            case _:
                line = told(event)
                if line is not None:
                    self.note(line, record=isinstance(event, Acted))

    def _gather(self, burst: _Burst, event: Event) -> None:
        before = burst.entry
        after = burst.take(event, self._clock.wall())
        if before is not None and before.at == after.at and before in self._entries:
            self._entries[self._entries.index(before)] = after
        else:
            self._entries.append(after)


class _Burst:
    """What happens to many shards at once, as one line that grows."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.entry: Entry | None = None

    def take(self, event: Event, now: float) -> Entry:
        """The line with this event in it: the last one, unless that is over."""
        if self.entry is None or now - self.entry.at > GATHER:
            self._events = []
        begun = self.entry.at if self.entry is not None and self._events else now
        self._events.append(event)
        line = told_together(self._events)
        self.entry = Entry(begun, line.level, line.text)
        return self.entry
