"""Threads of the system, also where gevent has put greenlets in the place of `threading`.

An event loop that ran in a greenlet would hold up all others for as long as it sleeps, which is for
good. Locks that such a thread shares with greenlets are of the system too: those of gevent lose
wake-ups where one side has no hub. So nothing may wait, or let other greenlets run, under one.
"""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from .errors import SettingsError

P = ParamSpec("P")
T = TypeVar("T")

LOOK_EVERY = 0.005
"""Seconds between looks whether a thread has ended."""


def greenlets() -> bool:
    """Whether what `threading` starts are greenlets.

    Raises:
        SettingsError: those of eventlet, which has no locks that a thread may release.
    """
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise SettingsError(
            "eventlet has patched `threading`, and would never be given back",
            remedy="use gevent, or threads: gunicorn -k gthread, celery -P threads",
        )
    gevent = sys.modules.get("gevent.monkey")
    return gevent is not None and bool(gevent.is_module_patched("threading"))


def original(module: str, name: str) -> Any:
    """What a module of Python holds under a name, whatever gevent has put there."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None:
        return gevent.get_original(module, name)
    return getattr(sys.modules[module], name)


def lock() -> threading.Lock:
    """A lock for a moment in which nothing waits."""
    made: threading.Lock = original("_thread", "allocate_lock")()
    return made


def start(run: Callable[[], object], name: str) -> Thread | threading.Thread:
    """Run something in a daemon thread of the system."""
    if greenlets():
        return Thread(run)
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


class Thread:
    """A thread of the system that greenlets can wait for."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run
        self._runs = lock()
        self._runs.acquire()
        original("_thread", "start_new_thread")(self._work, ())

    def _work(self) -> None:
        try:
            self._run()
        finally:
            self._runs.release()

    def join(self, timeout: float) -> None:
        """Wait until it has ended, for at most so many seconds."""
        for _ in range(round(timeout / LOOK_EVERY)):
            if not self.is_alive():
                return
            time.sleep(LOOK_EVERY)  # that of gevent: others run meanwhile

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._runs.locked()


class Executor(ThreadPoolExecutor):
    """Work takes its turn in at most so many threads of the system; asyncio can use it too.

    Python ends what it makes of `ThreadPoolExecutor` when the main thread ends, though others may
    serve on, and before `atexit` closes what they have used. These go on, and hold up no end.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._most = threads
        self._running = 0
        self._works: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._guard = lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it run in its turn."""
        future = Future[T]()
        # Made with one of gevent.
        future._condition = threading.Condition(original("_thread", "RLock")())  # noqa: SLF001
        with self._guard:
            self._works.append((future, partial(fn, *args, **kwargs)))
            starts = self._running < self._most
            self._running += starts
        if starts:
            self._start_thread()
        return future

    def _start_thread(self) -> None:
        try:
            original("_thread", "start_new_thread")(self._work, ())
        except RuntimeError as error:
            if "shutdown" in str(error):  # from Python 3.12 on `atexit` can start none
                self._work()
                return
            with self._guard:
                self._running -= 1
                stranded = [] if self._running else [*self._works]
                if stranded:
                    self._works.clear()
            for future, _ in stranded:
                if future.set_running_or_notify_cancel():
                    future.set_exception(OSError(errno.EAGAIN, str(error)))

    def _work(self) -> None:
        while True:
            with self._guard:
                if not self._works:
                    self._running -= 1
                    return
                future, work = self._works.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - who waits gets it, whatever it is
                future.set_exception(error)
            else:
                future.set_result(result)
