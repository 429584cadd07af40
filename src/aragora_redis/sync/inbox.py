"""Where a loop sleeps: what threads put in is begun in the turn that it wakes up for."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..errors import NotStartedError
from .call import Call

Ready = list[tuple[selectors.SelectorKey, int]]


class Inbox(selectors.DefaultSelector):
    """The selector of a loop, with a queue of calls.

    The loop looks in here each time before it sleeps, and after. So a thread that puts a call in
    wakes it only if it sleeps; else both would make system calls in vain, and each of those gives
    the interpreter away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: deque[Call[Any]] = deque()
        self._sleeps = False
        self._shut = False
        ends = os.pipe()
        for end in ends:
            os.set_blocking(end, False)
        self._heard, self._bell = open(ends[0], "rb", 0), open(ends[1], "wb", 0)  # noqa: SIM115, PTH123
        self._rung = self.register(self._heard, selectors.EVENT_READ)

    # --- by any thread ------------------------------------------------------------------

    def put(self, call: Call[Any]) -> None:
        """Have a call begun, or refused where nothing begins any more."""
        self._calls.append(call)
        if self._sleeps:
            self._sleeps = False
            with contextlib.suppress(ValueError):  # it was closed just now
                self._bell.write(b"\0")
        if self._shut and self.take_out(call):
            call.refuse(NotStartedError())

    def take_out(self, call: Call[Any]) -> bool:
        """Have a call not begun; False if it was."""
        try:
            self._calls.remove(call)
        except ValueError:
            return False
        return True

    # --- by the loop --------------------------------------------------------------------

    def select(self, timeout: float | None = None) -> Ready:
        """Wait for files and for calls, and begin those."""
        self._sleeps = timeout != 0  # from here on: a call is either seen now, or wakes
        ready = super().select(0 if self._calls else timeout)
        self._sleeps = False
        for call in self._taken():
            call.begin()
        if all(key is not self._rung for key, _ in ready):
            return ready
        self._heard.read(64)
        return [each for each in ready if each[0] is not self._rung]

    def shut(self) -> None:
        """Begin nothing any more."""
        self._shut = True
        for call in self._taken():
            call.refuse(NotStartedError())

    def close(self) -> None:
        """End it with its loop."""
        super().close()
        self._heard.close()
        self._bell.close()

    def _taken(self) -> Iterator[Call[Any]]:
        while self._calls:
            try:
                call = self._calls.popleft()
            except IndexError:  # it was taken out just now
                return
            yield call
