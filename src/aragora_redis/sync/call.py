"""What a thread has for the loop: a call, whose outcome comes back, or an errand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, NoReturn, TypeVar, cast

from ..errors import AragoraRedisError, OutcomeUnknownError
from .alarms import Alarm, Latch
from .greenlets import Bell

T = TypeVar("T")


class Call(Generic[T]):
    """Work for the loop, in the context of the thread that waits for it.

    Args:
        work: what is awaited in the loop.
        ended: what the thread waits on; it rings once.
        undo: given a result that nobody waits for any more, in the loop.
    """

    __slots__ = ("_context", "_ended", "_task", "_undo", "_work", "error", "result")

    result: T
    """Once it has ended, without an error."""

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        ended: Alarm | Bell | Latch,
        undo: Callable[[T], None] | None = None,
    ) -> None:
        self._work = work
        self._ended = ended
        self._undo = undo
        self._context = copy_context()
        self._task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None

    # --- by the thread ------------------------------------------------------------------

    def wait(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        return self._ended.wait(within)

    def fail(self) -> NoReturn:
        """Raise its error."""
        error = cast("BaseException", self.error)
        self.error = None  # the traceback leads here: else that is a circle
        try:
            raise error
        finally:
            del error

    # --- by the loop, or by who has taken it back from there -----------------------------

    def begin(self) -> None:
        """Run it, as a task: what it awaits may ask which one it is in."""
        self._task = asyncio.Task(self._run(), name="aragora-redis call", context=self._context)

    def refuse(self, error: AragoraRedisError) -> None:
        """Tell that it never begins."""
        self._work.close()
        self.error = error
        self._ended.ring()

    def give_up(self) -> None:
        """Cancel it: nobody waits any more."""
        if self._task is None:
            self._work.close()
            return
        self._task.cancel()
        self._task.add_done_callback(self._take_back)

    async def _run(self) -> None:
        try:
            self.result = await self._work
        except asyncio.CancelledError:
            self.error = OutcomeUnknownError("this was ended before its answer came")
        except BaseException as error:  # noqa: BLE001 - the thread gets it, whatever it is
            self.error = error
        self._ended.ring()

    def _take_back(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step
            self._work.close()
        elif self._undo is not None and self.error is None:
            self._undo(self.result)


class Errand:
    """Something to run in the loop, in the context of a thread that does not wait for it."""

    __slots__ = ("_context", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._context = copy_context()

    def begin(self) -> None:
        """Run it in this turn."""
        asyncio.get_running_loop().call_soon(self._work, context=self._context)

    def refuse(self, _error: AragoraRedisError) -> None:
        """Drop it: there is nobody to tell."""
