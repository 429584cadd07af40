"""How a loop waits for its files and for its inbox: uvloop where it is installed, else asyncio."""

from __future__ import annotations

import asyncio
import os
import selectors
from typing import TYPE_CHECKING

from ..native import original
from .inbox import Inbox

if TYPE_CHECKING:
    Default = selectors.DefaultSelector
else:
    Default = original("selectors", "DefaultSelector")

Ready = list[tuple[selectors.SelectorKey, int]]


def loop_of(inbox: Inbox) -> asyncio.AbstractEventLoop:
    """A new loop, which begins what is put into the inbox."""
    try:
        import uvloop  # noqa: PLC0415 - it takes a while, and only who has threads needs it
    except ImportError:
        return asyncio.SelectorEventLoop(Selector(inbox))
    loop = uvloop.new_event_loop()

    def look() -> None:
        inbox.awake = False
        inbox.begin()

    inbox.wake = lambda: loop.call_soon_threadsafe(look)
    return loop


class Selector(Default):
    """Where a loop of asyncio sleeps: what was put into the inbox begins in the turn after."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__()
        ends = os.pipe()
        for end in ends:
            os.set_blocking(end, False)
        self._heard, self._bell = open(ends[0], "rb", 0), open(ends[1], "wb", 0)  # noqa: SIM115, PTH123
        self._rung = self.register(self._heard, selectors.EVENT_READ)
        self._inbox = inbox
        inbox.wake = self._ring

    def select(self, timeout: float | None = None) -> Ready:
        """Wait for files, or to be woken."""
        inbox = self._inbox
        inbox.awake = timeout == 0  # from here on: what is put in is either seen now, or wakes
        ready = super().select(0 if inbox else timeout)
        inbox.awake = True
        inbox.begin()
        if all(key is not self._rung for key, _ in ready):
            return ready
        self._heard.read(64)
        return [each for each in ready if each[0] is not self._rung]

    def close(self) -> None:
        """End it with its loop."""
        super().close()
        self._bell.close()
        self._heard.close()

    def _ring(self) -> None:
        self._bell.write(b"\0")
