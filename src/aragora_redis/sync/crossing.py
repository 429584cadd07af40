"""The way of a thread's call into the background loop, made anew after a fork."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from ..clock import SYSTEM_CLOCK
from ..errors import AragoraRedisError, NotStartedError
from ..state.shared import CLOSE_LIMIT, SharedState
from ..times import Duration, in_seconds
from .process import current

T = TypeVar("T")

FIRST_LIMIT = 1.0
"""Seconds after a start for which first calls wait for what they need to be there: in a worker that
was just forked, or has just loaded its application, that is a pause, and an error without it."""


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
            self._first_until = SYSTEM_CLOCK.monotonic() + FIRST_LIMIT
            undo.pop_all()

    def await_first(self) -> None:
        """Wait until it is ready, or not so new any more that its callers would have to bear it."""
        left = self._first_until - SYSTEM_CLOCK.monotonic()
        if left > 0 and not self.state.ready:
            with suppress(AragoraRedisError):  # it has ended meanwhile
                self.loop.run(self.state.wait_ready(left), left)

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
        self._started = False
        self._unasked: _Life | None = None
        """What was started here, while nobody has asked anything of it."""
        self._life: _Life | None = None

    def start(self) -> None:
        """Connect and follow in the background; returns at once."""
        self._started = True
        try:
            with current().lock:
                if self._lives() is None:
                    self._unasked = self._new()
        except BaseException:
            self._started = self._lives() is not None
            raise

    def close(self) -> None:
        """End all connections and tasks."""
        process = current()
        with process.lock:
            life, self._life, self._unasked, self._started = self._lives(), None, None, False
            process.residents.discard(self)
        if life is not None:
            life.close()

    def before_fork(self) -> None:
        """Close what nobody has asked of; whoever asks then begins it anew."""
        process = current()
        with process.lock:
            life, self._unasked = self._unasked, None
            if life is None or life.process is not process:
                return
            process.residents.discard(self)
        life.close()

    @property
    def here(self) -> SharedState:
        """What lives in the loop; only what any thread may ask is asked of it directly."""
        return self._alive().state

    @property
    def seen(self) -> SharedState:
        """The same, for who only looks how it is: that is not to ask."""
        return self._begun().state

    def cross(
        self,
        work: Callable[[SharedState], Coroutine[Any, Any, T]],
        within: Duration,
        *,
        undo: Callable[[T], None] | None = None,
        looks: bool = False,
    ) -> T:
        """Run a coroutine in the background loop, and wait for it; `undo` as `Loop.run` does.

        Args:
            work: gets the state.
            within: seconds that it may take.
            undo: given a result that nobody waits for any more.
            looks: it asks nothing that an instance is for.

        Raises:
            InvalidInputError: `within` is no span of time.
            NotStartedError: the state is not in use.
            RuntimeError: the caller is a coroutine itself.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the question without a raise
            raise RuntimeError(
                "aragora_redis.sync would hold up this event loop: use aragora_redis.SharedState"
            )
        within = in_seconds(within, "within")
        life = self._begun() if looks else self._alive()
        return life.loop.run(work(life.state), within, undo=undo)

    def later(self, work: Callable[[], None], *, can_wait: bool = False) -> None:
        """Run something in the background loop without waiting for it, in the order of calls.

        Nothing is begun for that either, so destructors may call it, in the loop's own thread too.
        What can wait for a moment does not wake the loop each time.

        Raises:
            NotStartedError: nothing lives here.
        """
        life = self._lives()
        if life is None:
            raise NotStartedError
        life.loop.later(work, can_wait=can_wait)

    def _alive(self) -> _Life:
        life = self._life
        if life is not None and life.process is current():
            return life
        if _in_the_loop():
            return self._begun()
        while True:
            life = self._begun()
            life.await_first()
            with current().lock:
                if life is self._unasked:
                    self._life, self._unasked = life, None
                if life is self._life:  # else it was closed just now
                    return life

    def _begun(self) -> _Life:
        """What lives here; where a fork has left it to be begun, that is done now.

        What lives is found without the lock: whoever holds that may be waiting for the loop, in
        which a listener may ask.

        Raises:
            NotStartedError: nothing does; or it is only being begun, and the loop would wait.
        """
        life = self._lives()
        if life is not None:
            return life
        if _in_the_loop():
            raise NotStartedError
        with current().lock:
            if not self._started:
                raise NotStartedError
            life = self._lives()
            if life is None:
                life = self._unasked = self._new()
            return life

    def _lives(self) -> _Life | None:
        process = current()
        for life in (self._unasked, self._life):  # what is asked becomes the other one meanwhile
            if life is not None and life.process is process:
                return life
        return None

    def _new(self) -> _Life:
        life = _Life(self._make)
        life.process.residents.add(self)
        return life


def _in_the_loop() -> bool:
    """Whether this is the background loop's own thread, where nothing may wait for it."""
    loop = current().loop
    return loop is not None and asyncio._get_running_loop() is loop.loop  # noqa: SLF001
