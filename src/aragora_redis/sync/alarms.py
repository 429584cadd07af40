"""What a thread waits on until its call has ended.

Who releases a lock keeps the interpreter. The thread that this wakes often runs at once, on the
same processor, only to sleep again until it gets the interpreter; CPython then wakes it while it
still holds what guards that, so it sleeps once more. A write gives the interpreter away for as long
as it lasts: who is woken by one finds it free, and a call has two switches of threads for five.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock
from collections import deque
from weakref import WeakSet

MOST = 64
"""Alarms of one loop, of two file descriptors each; further threads that wait have a latch."""
THERE = hasattr(os, "eventfd") and hasattr(select, "epoll")
"""Whether this system has any: Linux does, unless gevent has taken what would hold it up."""


class Alarm:
    """Wakes one thread, and can be used again once it has.

    Args:
        event: an event of Linux (`os.eventfd`), which is closed with it.
    """

    __slots__ = ("__weakref__", "_event", "_heard")

    def __init__(self, event: int) -> None:
        self._event = event
        self._heard = select.epoll(1)
        self._heard.register(event, select.EPOLLIN | select.EPOLLET)  # told once, and never read

    def __del__(self) -> None:
        os.close(self._event)

    def wait(self, within: float) -> bool:
        """Whether it rings within so many seconds."""
        return bool(self._heard.poll(within, 1))

    def ring(self) -> None:
        """Wake who waits, or will."""
        os.eventfd_write(self._event, 1)


class Latch:
    """The same on a lock: it needs nothing of the system."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def wait(self, within: float) -> bool:
        """Whether it rings within so many seconds."""
        return self._lock.acquire(True, within)  # noqa: FBT003 - by name it takes longer

    def ring(self) -> None:
        """Wake who waits, or will."""
        self._lock.release()


class Alarms:
    """The alarms of one loop."""

    def __init__(self) -> None:
        self._idle: deque[Alarm] = deque()
        self._all: WeakSet[Alarm] = WeakSet()

    def take(self) -> Alarm | Latch:
        """One that nobody else has."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._another()

    def give_back(self, rung: Alarm | Latch) -> None:
        """Let others have one that has rung; one that may still ring is nobody's any more."""
        if isinstance(rung, Alarm):
            self._idle.append(rung)

    def _another(self) -> Alarm | Latch:
        if THERE and len(self._all) < MOST:
            try:
                alarm = Alarm(os.eventfd(0))
            except OSError:  # this process has no file descriptors left
                return Latch()
            self._all.add(alarm)
            return alarm
        return Latch()
