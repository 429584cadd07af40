"""A bulkhead: so many calls of a dependency at once, so that one that hangs takes not all of us.

It counts the calls of this instance. Who finds it full waits in turn, where the policy lets it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..circuit.policy import CircuitPolicy
from ..errors import CircuitFullError


class Bulkhead:
    """Places for calls; used in one event loop.

    Args:
        refused: told of each call that got none.
    """

    def __init__(
        self, name: str, policy: Callable[[], CircuitPolicy], refused: Callable[[], None]
    ) -> None:
        self._name = name
        self._policy = policy
        self._refused = refused
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def bounded(self) -> bool:
        """Whether there is any limit."""
        return self._policy().max_concurrent > 0

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._waiters)

    async def enter(self) -> None:
        """Take a place, waiting for one at most `max_wait` seconds.

        Raises:
            CircuitFullError: there is none; nothing was called.
        """
        if self._has_place and not self._waiters:
            self.in_flight += 1
            return
        if len(self._waiters) >= self._policy().max_waiting:
            self._refused()
            raise CircuitFullError(self._name)
        await self._wait()

    def leave(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self.let_in()

    def let_in(self) -> None:
        """Give the places that there are to those who have waited longest."""
        while self._waiters and self._has_place:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)

    @property
    def _has_place(self) -> bool:
        return not self.bounded or self.in_flight < self._policy().max_concurrent

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._policy().max_wait):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # it was handed a place as it went
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                self._refused()
                raise CircuitFullError(self._name) from None
            raise
