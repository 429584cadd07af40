"""An import by a thread, which reads the lines itself and hands them over a step at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from itertools import islice
from typing import Any

from ..errors import AragoraRedisError, InvalidInputError, NotStartedError, Ran
from ..state.revocations.importing import IMPORT_STEP
from ..state.revocations.receipt import Imported
from ..state.shared import SharedState
from .crossing import Crossing

Work = Callable[[SharedState, AsyncIterator[bytes]], Coroutine[Any, Any, Imported]]


class Import:
    """One import.

    Args:
        crossing: the way to the loop, where it goes on between the steps.
        work: the whole of it, given the lines.
        within: seconds for one step.
    """

    def __init__(self, crossing: Crossing, work: Work, within: float) -> None:
        self._crossing = crossing
        self._work = work
        self._within = within
        self._steps: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self._task: asyncio.Task[Imported] | None = None

    def run(self, lines: Iterable[bytes]) -> Imported:
        """Hand over all lines; raises as the import does."""
        given, joined = iter(lines), False
        try:
            while step := list(islice(given, IMPORT_STEP)):
                if not self._crossing.cross(partial(self._take, step=step), self._within):
                    break
                joined = True
            return self._crossing.cross(self._finish, self._within)
        except BaseException as error:
            self._drop()
            # What the import itself refuses says it; a crossing knows of its own step alone.
            knows = isinstance(error, InvalidInputError)
            if isinstance(error, AragoraRedisError) and joined and not knows:
                error.ran = Ran.UNKNOWN if error.ran is Ran.UNKNOWN else Ran.YES
            raise

    async def _take(self, state: SharedState, step: list[bytes]) -> bool:
        """Have a step joined; whether there can be another one."""
        work = self._begun(state)
        self._steps.put_nowait(step)
        taken = asyncio.ensure_future(self._steps.join())
        try:
            await asyncio.wait((work, taken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
        return not work.done()

    async def _finish(self, state: SharedState) -> Imported:
        work = self._begun(state)
        self._steps.put_nowait([])
        return await work

    def _begun(self, state: SharedState) -> asyncio.Task[Imported]:
        if self._task is None:
            self._task = asyncio.create_task(self._work(state, self._lines()))
        return self._task

    async def _lines(self) -> AsyncIterator[bytes]:
        while step := await self._steps.get():
            for line in step:
                yield line
            self._steps.task_done()  # the next line is asked for once these are joined

    def _drop(self) -> None:
        try:
            self._crossing.later(self._abandon)
        except NotStartedError:  # it was closed, and the loop may go on for others
            if self._task is not None:
                with contextlib.suppress(RuntimeError):
                    self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def _abandon(self) -> None:
        if self._task is not None:
            self._task.cancel()
