"""Where a loop sleeps: what threads put in is begun in the turn that it wakes up for."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..errors import NotStartedError
from .call import Call, Errand

Ready = list[tuple[selectors.SelectorKey, int]]
Entry = Call[Any] | Errand

NAP = 0.02
"""Seconds that an errand waits at most which can wait."""
NAP_ENTRIES = 256
"""How many of them are let wait."""


class Inbox(selectors.DefaultSelector):
    """The selector of a loop, with a queue of what threads have for it.

    The loop looks in here each time before it sleeps, and after. So a thread that puts something in
    wakes it only if it sleeps; else both would make system calls in vain, and each of those gives
    the interpreter away. An errand that can wait does not wake it from a nap, and while such
    errands come, it naps.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: deque[Entry] = deque()
        self._sleeps = False
        self._naps = False
        self._shut = False
        ends = os.pipe()
        for end in ends:
            os.set_blocking(end, False)
        self._heard, self._bell = open(ends[0], "rb", 0), open(ends[1], "wb", 0)  # noqa: SIM115, PTH123
        self._rung = self.register(self._heard, selectors.EVENT_READ)

    # --- by any thread ------------------------------------------------------------------

    def put(self, entry: Entry, *, can_wait: bool = False) -> None:
        """Have it begun, or refused where nothing begins any more."""
        self._entries.append(entry)
        if self._sleeps and not (can_wait and self._naps and len(self._entries) < NAP_ENTRIES):
            self._sleeps = False
            with contextlib.suppress(ValueError):  # it was closed just now
                self._bell.write(b"\0")
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

    def select(self, timeout: float | None = None) -> Ready:
        """Wait for files and for what threads put in, and begin that."""
        if self._naps:
            timeout = NAP if timeout is None else min(timeout, NAP)
        self._sleeps = timeout != 0  # from here on: what is put in is either seen now, or wakes
        ready = super().select(0 if self._entries else timeout)
        self._sleeps, self._naps = False, self._naps and timeout == 0
        for entry in self._taken():
            self._naps = self._naps or isinstance(entry, Errand)
            entry.begin()
        if all(key is not self._rung for key, _ in ready):
            return ready
        self._heard.read(64)
        return [each for each in ready if each[0] is not self._rung]

    def shut(self) -> None:
        """Begin nothing any more."""
        self._shut = True
        for entry in self._taken():
            entry.refuse(NotStartedError())

    def close(self) -> None:
        """End it with its loop."""
        super().close()
        self._heard.close()
        self._bell.close()

    def _taken(self) -> Iterator[Entry]:
        while self._entries:
            try:
                entry = self._entries.popleft()
            except IndexError:  # it was taken out just now
                return
            yield entry
