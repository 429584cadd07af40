"""One event loop for all threads of a process, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .. import native
from ..errors import DeadlineError, OutcomeUnknownError
from .alarms import Alarms
from .call import Call, Errand
from .inbox import Inbox
from .waiting import loop_of

T = TypeVar("T")

CROSSING = 5.0
"""Seconds beyond a call's own deadline after which a thread no longer waits for the loop."""


END_LIMIT = 1.0
"""Seconds that the end waits for what is cancelled."""
ASIDE = 4
"""Threads for files and names: those of asyncio may be greenlets, and end with the main thread."""


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._alarms = Alarms()
        self.loop = loop_of(self._inbox)
        self.users = 0
        self.loop.set_default_executor(native.Executor(ASIDE))
        self._ending: asyncio.Task[None] | None = None
        self._thread = native.start(self.loop.run_forever, "aragora-redis")

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
            NotStartedError: the loop has ended.
            DeadlineError: the loop has not come round in time, and now never begins it.
            OutcomeUnknownError: it was begun, and has not ended in time.
        """
        alarm = self._alarms.take()
        call = Call(work, alarm, undo)
        try:
            self._inbox.put(call)
            ended = call.wait(within + CROSSING)
            if ended:
                self._alarms.give_back(alarm)
        except BaseException:
            self._give_up(call)
            raise
        if ended:
            # Without a call: after one, a signal could still take the result from who waited.
            if call.error is None:
                return call.result
            call.fail()
        if self._give_up(call):
            raise DeadlineError("the background loop does not come round")
        raise OutcomeUnknownError("the background loop began this, and has not ended it in time")

    def later(self, work: Callable[[], None], *, can_wait: bool) -> None:
        """Run something without waiting for it; soon, or, if it can wait, within `NAP` seconds."""
        self._inbox.put(Errand(work), can_wait=can_wait)

    def _give_up(self, call: Call[T]) -> bool:
        """Wait no longer; whether the work never ran."""
        if self._inbox.take_out(call):
            call.give_up()
            return True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so has it
            self.loop.call_soon_threadsafe(call.give_up)
        return False

    def stop(self) -> None:
        """Cancel what runs, and end the thread; one that does not come round is left behind."""
        self.loop.call_soon_threadsafe(self._begin_to_end)
        self._thread.join(2 * END_LIMIT)
        if not self._thread.is_alive():
            self.loop.close()

    def _begin_to_end(self) -> None:
        self._inbox.shut()
        self._ending = self.loop.create_task(self._end())

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=END_LIMIT)
        self.loop.stop()
