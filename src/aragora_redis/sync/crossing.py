"""The way of a thread's call into the background loop, made anew after a fork."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, TypeVar

from ..errors import NotStartedError
from ..state.shared import CLOSE_LIMIT, SharedState
from .loop import current

T = TypeVar("T")

FORK_LIMIT = 1.0
"""Seconds for which the first call after a fork waits for what it needs to be there, as a start
does: in a pre-forked worker that is a pause, and an error to a user without it."""


class _Life:
    """One started state in this process."""

    def __init__(self, make: Callable[[], SharedState]) -> None:
        self.process = current()
        self.loop = self.process.join()
        with ExitStack() as undo:
            undo.callback(self.process.leave, self.loop)
            self.state = make()
            undo.callback(self._end)
            self.loop.run(self._start(), 0)
            undo.pop_all()

    async def _start(self) -> None:
        self.state.start()

    def close(self) -> None:
        try:
            self._end()
        finally:
            self.process.leave(self.loop)

    def _end(self) -> None:
        self.loop.run(self.state.close(), CLOSE_LIMIT)


class Crossing:
    """Where threads meet one state.

    Args:
        make: makes the state; called once in each process.
        deadline: seconds that a short call may take.
    """

    def __init__(self, make: Callable[[], SharedState], *, deadline: float) -> None:
        self._make = make
        self.deadline = deadline
        self._life: _Life | None = None
        self._started = False

    def start(self) -> None:
        """Connect and follow in the background; returns at once."""
        self._started = True
        try:
            self._alive()
        except BaseException:
            self._started = self._life is not None
            raise

    def close(self) -> None:
        """End all connections and tasks."""
        with current().lock:
            life, self._life, self._started = self._life, None, False
        if life is not None and life.process is current():
            life.close()

    @property
    def here(self) -> SharedState:
        """What lives in the loop; only what any thread may ask is asked of it directly."""
        return self._alive().state

    def cross(
        self,
        work: Callable[[SharedState], Coroutine[Any, Any, T]],
        within: float,
        *,
        undo: Callable[[T], None] | None = None,
    ) -> T:
        """Run a coroutine in the background loop, and wait for it; `undo` as `Loop.run` does.

        Raises:
            NotStartedError: the state is not in use.
            RuntimeError: the caller is a coroutine itself.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the question without a raise
            raise RuntimeError(
                "aragora_redis.sync would hold up this event loop: use aragora_redis.SharedState"
            )
        life = self._alive()
        return life.loop.run(work(life.state), within, undo=undo)

    def later(self, work: Callable[[], None], *, can_wait: bool = False) -> None:
        """Run something in the background loop without waiting for it, in the order of calls.

        What can wait for a moment does not wake the loop each time.
        """
        self._alive().loop.later(work, can_wait=can_wait)

    def _alive(self) -> _Life:
        life = self._life
        if life is not None and life.process is current():
            return life
        return self._begin()

    def _begin(self) -> _Life:
        with current().lock:
            if self._life is not None and self._life.process is current():
                return self._life
            if not self._started:
                raise NotStartedError
            forked = self._life is not None
            life = self._life = _Life(self._make)
        if forked:
            life.loop.run(life.state.wait_ready(FORK_LIMIT), 2 * FORK_LIMIT)
        return life
