"""Whether instances go by other policies, said once when it changes."""

from __future__ import annotations

from ..events import Events, PoliciesDiffer


class Differing:
    """Turns how many differ at each beat into `PoliciesDiffer`.

    Of a file that all of them follow some hear a second before the others: who differs counts when
    the next beat says so too.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._last = 0
        self._said = False

    def see(self, instances: int) -> None:
        """Take in how many go by others."""
        before, self._last = self._last, instances
        settled = instances if instances and before else 0
        if bool(settled) != self._said and (settled or not instances):
            self._said = bool(settled)
            self._events.emit(PoliciesDiffer(settled))
