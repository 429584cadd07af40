"""What a thread waits on until its call has ended.

Who releases a lock keeps the interpreter. The thread that this wakes often runs at once, on the
same processor, only to sleep again until it gets the interpreter; CPython then wakes it while it
still holds what guards that, so it sleeps once more. A write gives the interpreter away for as long
as it lasts: who is woken by one finds it free, and a call has two switches of threads for five.

While some thread computes that is a bad bargain: it takes the interpreter at each write, and keeps
it for 5 ms. Calls wait on locks then.
"""

from __future__ import annotations

import os
import select
from collections import deque
from threading import Lock
from weakref import WeakSet

from .. import native
from ..clock import SYSTEM_CLOCK
from .greenlets import Bell

MOST = 64
"""Alarms of one loop, of two file descriptors each; further threads that wait have a latch."""
DEAR = 0.004
"""Seconds after which who rang had to ask for the interpreter: a thread that computes keeps it for
`sys.getswitchinterval()`."""
LATCHED = 256
"""Calls that wait on latches after that."""
LONGEST = 2_000_000.0
"""Seconds that a thread may wait: the system counts milliseconds in 31 bits."""
THERE = hasattr(os, "eventfd") and hasattr(select, "epoll")
"""Whether this system has any: Linux does, unless gevent has taken what would hold it up."""


class Interpreter:
    """What rings have told of it.

    Attributes:
        latched: for how many calls it is not to be given away.
    """

    __slots__ = ("latched",)

    def __init__(self) -> None:
        self.latched = 0


class Alarm:
    """Wakes one thread, and can be used again once it has.

    Args:
        event: an event of Linux (`os.eventfd`), which is closed with it.
        interpreter: told when it was not to be had.
    """

    __slots__ = ("__weakref__", "_event", "_heard", "_interpreter")

    def __init__(self, event: int, interpreter: Interpreter) -> None:
        self._event = event
        self._interpreter = interpreter
        self._heard = select.epoll(1)
        self._heard.register(event, select.EPOLLIN | select.EPOLLET)  # told once, and never read

    def __del__(self) -> None:
        os.close(self._event)

    def wait(self, within: float) -> bool:
        """Whether it rings within so many seconds."""
        return bool(self._heard.poll(min(max(within, 0.0), LONGEST), 1))

    def ring(self) -> None:
        """Wake who waits, or will."""
        began = SYSTEM_CLOCK.monotonic()
        os.eventfd_write(self._event, 1)
        if SYSTEM_CLOCK.monotonic() - began > DEAR:
            self._interpreter.latched = LATCHED


class Latch:
    """The same on a lock: it needs nothing of the system."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def wait(self, within: float) -> bool:
        """Whether it rings within so many seconds."""
        within = min(max(within, 0.0), LONGEST)
        return self._lock.acquire(True, within)  # noqa: FBT003 - by name it takes longer

    def ring(self) -> None:
        """Wake who waits, or will."""
        self._lock.release()


class Alarms:
    """The alarms of one loop."""

    def __init__(self) -> None:
        self._idle: deque[Alarm] = deque()
        self._all: WeakSet[Alarm] = WeakSet()
        self._interpreter = Interpreter()
        self._greenlets = native.greenlets()

    def take(self) -> Alarm | Bell | Latch:
        """One that nobody else has."""
        if self._greenlets:
            return Bell()
        if self._interpreter.latched > 0:
            self._interpreter.latched -= 1
            return Latch()
        try:
            return self._idle.pop()
        except IndexError:
            return self._another()

    def give_back(self, rung: Alarm | Bell | Latch) -> None:
        """Let others have one that has rung; one that may still ring is nobody's any more."""
        if isinstance(rung, Alarm):
            self._idle.append(rung)

    def _another(self) -> Alarm | Latch:
        if THERE and len(self._all) < MOST:
            try:
                alarm = Alarm(os.eventfd(0), self._interpreter)
            except OSError:  # this process has no file descriptors left
                return Latch()
            self._all.add(alarm)
            return alarm
        return Latch()
