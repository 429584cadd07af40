"""What threads have for a loop, in the order in which they put it in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import NotStartedError
from .call import Call, Errand

Entry = Call[Any] | Errand

NAP = 0.02
"""Seconds that an errand waits at most which can wait."""
NAP_ENTRIES = 256
"""How many of them are let wait."""


class Inbox:
    """A queue that wakes a loop only if it must.

    A loop that is awake looks in here anyway before it sleeps: to wake it makes system calls in
    vain, and each gives the interpreter away. An errand that can wait does not wake it from a nap
    either, and while such errands come, it naps.

    Attributes:
        awake: whether the loop looks in here before it sleeps.
        wake: has it do so.
    """

    def __init__(self) -> None:
        self.awake = False
        self.wake: Callable[[], object] = lambda: None
        self._entries: deque[Entry] = deque()
        self._naps = False
        self._shut = False

    def __bool__(self) -> bool:
        return bool(self._entries)

    # --- by any thread ------------------------------------------------------------------

    def put(self, entry: Entry, *, can_wait: bool = False) -> None:
        """Have it begun, or refused where nothing begins any more."""
        self._entries.append(entry)
        if not self.awake and not (can_wait and self._naps and len(self._entries) < NAP_ENTRIES):
            self.awake = True
            try:
                self.wake()
            except (RuntimeError, ValueError):  # the loop has just been closed
                pass
            except BaseException:  # a signal's handler came between: the next one wakes it
                self.awake = False
                raise
        if self._shut and self.take_out(entry):
            entry.refuse(NotStartedError())

    def take_out(self, entry: Entry) -> bool:
        """Have it not begun; False if it was."""
        try:
            self._entries.remove(entry)
        except ValueError:
            return False
        return True

    # --- by the loop --------------------------------------------------------------------

    def begin(self) -> None:
        """Begin all that was put in."""
        for entry in self._taken():
            entry.begin()
            if isinstance(entry, Errand) and not self._naps:
                self._naps = True
                asyncio.get_running_loop().call_later(NAP, self._end_nap)

    def shut(self) -> None:
        """Begin nothing any more."""
        self._shut = True
        for entry in self._taken():
            entry.refuse(NotStartedError())

    def _end_nap(self) -> None:
        self._naps = False
        self.begin()

    def _taken(self) -> Iterator[Entry]:
        while self._entries:
            try:
                entry = self._entries.popleft()
            except IndexError:  # it was taken out just now
                return
            yield entry
