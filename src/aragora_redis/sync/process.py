"""What belongs to this process alone: its loop, what lives there, its forks and its end.

A process that has started a state only to hand it on, as a server does that loads the application
before it forks its workers, is no instance: what nobody has asked of is closed before a fork, and
begins anew where somebody asks, in the parent or a child. The child then has no copies of sockets
whose other ends would take them for living, and the parent forks without a thread of ours.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import Protocol

from .loop import Loop
from .uwsgi import refuse_unfit


class Resident(Protocol):
    """A state that lives in this process."""

    def before_fork(self) -> None:
        """Close what nobody has asked of."""

    def close(self) -> None:
        """End it."""


class Process:
    """What belongs to this process alone; a child of a fork begins with none of it."""

    _lock: threading.RLock

    def __init__(self) -> None:
        self.entering = threading.Lock()
        """For who enters and leaves circuits."""
        self.loop: Loop | None = None
        self.ends_with_pool = False
        """Whether multiprocessing is to end what lives here."""
        self.residents: set[Resident] = set()
        """Who lives here: they are told of forks, and closed when the process ends."""

    @property
    def lock(self) -> threading.RLock:
        """Held while something is started or ended. Made when it is used: gevent may come first."""
        try:
            return self._lock
        except AttributeError:
            made: threading.RLock = vars(self).setdefault("_lock", threading.RLock())
            return made

    def join(self) -> Loop:
        """The loop of this process, for one user more."""
        with self.lock:
            if self.loop is None:
                refuse_unfit()
                self.loop = Loop()
                _end_with_pool(self)
            self.loop.users += 1
            return self.loop

    def leave(self, loop: Loop) -> None:
        """One user less; the last one ends it."""
        with self.lock:
            loop.users -= 1
            if loop.users:
                return
            self.loop = None
        loop.stop()


_current = Process()
_inherited: list[Process] = []
"""Of parents, kept as they are until this process ends."""


def current() -> Process:
    """The process that this code runs in."""
    return _current


def _before_fork() -> None:
    for resident in tuple(_current.residents):
        resident.before_fork()


def _forget_parent() -> None:
    global _current  # noqa: PLW0603 - a fork replaces the process
    if _current.loop is not None:
        # Its tasks never end here, and would complain of it when this process does.
        _current.loop.loop.set_exception_handler(lambda _loop, _context: None)
    _inherited.append(_current)
    _current = Process()


def _end() -> None:
    """Close what still lives when the process ends, and stop a loop that is used nevertheless.

    Else what is leased here would count as used, and the fleet would miss this instance first.
    """
    for resident in tuple(_current.residents):
        with contextlib.suppress(Exception):  # there is nobody left to tell
            resident.close()
    loop, _current.loop = _current.loop, None
    if loop is not None:
        loop.stop()


def _end_with_pool(process: Process) -> None:
    """Have it end in a worker of multiprocessing or Celery too: that may run nothing of `atexit`.

    One of multiprocessing forgets what is to run at its end when it begins, which is after it has
    loaded the application where that was not forked.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not process.ends_with_pool:
        process.ends_with_pool = True
        util.Finalize(None, _end, exitpriority=0)
        util.register_after_fork(process, lambda _: util.Finalize(None, _end, exitpriority=0))
    celery = sys.modules.get("celery.signals")
    if celery is not None:
        ends = celery.worker_process_shutdown
        ends.connect(_end_worker, weak=False, dispatch_uid="aragora-redis")


def _end_worker(**_: object) -> None:
    _end()


atexit.register(_end)
os.register_at_fork(before=_before_fork, after_in_child=_forget_parent)
