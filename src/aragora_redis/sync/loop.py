"""One event loop for all threads of a process, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..errors import DeadlineError, OutcomeUnknownError

T = TypeVar("T")

CROSSING = 5.0
"""Seconds beyond a call's own deadline after which a thread no longer waits for the loop."""


ABANDON_LIMIT = 1.0
"""Seconds that the end of a process waits for its tasks."""


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.users = 0
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="aragora-redis", daemon=True
        )
        self._thread.start()

    def run(
        self,
        work: Coroutine[Any, Any, T],
        within: float,
        *,
        undo: Callable[[T], None] | None = None,
    ) -> T:
        """Run a coroutine, and wait for it.

        A result that comes when nobody waits for it any more is given to `undo`, in the loop.

        Raises:
            DeadlineError: the loop has not come round in time, and now never begins it.
            OutcomeUnknownError: it was begun, and has not ended in time.
        """
        turn = threading.Lock()  # whoever takes it decides whether the work begins
        results: list[T] = []

        async def begin() -> T:
            if not turn.acquire(blocking=False):
                raise asyncio.CancelledError
            results.append(await work)
            return results[0]

        def abandon() -> bool:
            """Wait no longer; whether the work never ran."""
            future.cancel()
            if turn.acquire(blocking=False):
                work.close()
                return True
            if undo is not None:  # after the cancel: by then the work is done, or never will be
                self.loop.call_soon_threadsafe(lambda: [undo(result) for result in results])
            return False

        future = asyncio.run_coroutine_threadsafe(begin(), self.loop)
        try:
            return future.result(within + CROSSING)
        except concurrent.futures.TimeoutError:
            if future.done():
                return future.result()  # it has just come, or the error is the work's own
            if abandon():
                raise DeadlineError("the background loop does not come round") from None
            raise OutcomeUnknownError(
                "the background loop began this, and has not ended it in time"
            ) from None
        except BaseException:
            abandon()
            raise

    def abandon(self) -> None:
        """Cancel what runs, and end the thread."""
        with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
            asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop).result(ABANDON_LIMIT)
            self.stop()

    def stop(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Process:
    """What belongs to this process alone; a child of a fork begins with none of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.loop: Loop | None = None

    def join(self) -> Loop:
        """The loop of this process, for one user more."""
        with self.lock:
            if self.loop is None:
                self.loop = Loop()
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
"""Of parents, kept as they are: their tasks would complain if they were collected here."""


def current() -> Process:
    """The process that this code runs in."""
    return _current


def _forget_parent() -> None:
    global _current  # noqa: PLW0603 - a fork replaces the process
    _inherited.append(_current)
    _current = Process()


def _end() -> None:
    """Stop a loop that is still used when the process ends; its tasks go unfinished, unsaid."""
    if _current.loop is not None:
        _current.loop.abandon()


atexit.register(_end)
os.register_at_fork(after_in_child=_forget_parent)
