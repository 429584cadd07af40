"""A bulkhead: so many calls of a dependency at once, so that one that hangs takes not all of us.

It counts the calls of this instance. Who finds it full waits in turn, where the policy lets it. A
place is given back by who took it, or is held under a name that goes with a permit, for a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

from ...circuit.policy import CircuitPolicy
from ...clock import Clock
from ...errors import CircuitFullError

HELD = 10_000
"""Places that may be held by name where there is no limit; further calls are not counted."""


class Bulkhead:
    """Places for calls; used in one event loop, but for `count` and `over`.

    Args:
        refused: told of each call that got none.
    """

    def __init__(
        self,
        name: str,
        policy: CircuitPolicy,
        refused: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._name = name
        self._policy = policy
        self._most = _most(policy)
        self._refused = refused
        self._clock = clock
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._inside = 0
        self._outside: set[object] = set()
        self._held: dict[str, float] = {}
        self._lapses_at = inf

    @property
    def bounded(self) -> bool:
        """Whether there is any limit."""
        return self._policy.max_concurrent > 0

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return self._inside + len(self._outside)

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._waiters)

    @property
    def lapses_at(self) -> float:
        """Monotonic seconds before which no place that is held lapses."""
        return self._lapses_at

    def use(self, policy: CircuitPolicy) -> None:
        """Have another limit from now on."""
        self._policy, self._most = policy, _most(policy)
        self.let_in()

    def step_in(self) -> bool:
        """Take a place, if there is one and nobody waits for it."""
        if self._waiters or self._inside + len(self._outside) >= self._most:
            return False
        self._inside += 1
        return True

    async def enter(self) -> None:
        """Take a place, waiting for one at most `max_wait` seconds.

        Raises:
            CircuitFullError: there is none; nothing was called.
        """
        if not self._has_place:
            self.lapse()
        if self.step_in():
            return
        if len(self._waiters) >= self._policy.max_waiting:
            self._refused()
            raise CircuitFullError(self._name)
        await self._wait()

    def take(self) -> None:
        """Take a place that was asked for elsewhere, though there be none."""
        self._inside += 1

    def leave(self) -> None:
        """Give a place back."""
        self._inside -= 1
        if self._waiters:
            self.let_in()

    def let_in(self) -> None:
        """Give the places that there are to those who have waited longest."""
        while self._waiters and self._has_place:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._inside += 1
                waiter.set_result(None)

    def count(self, call: object) -> None:
        """Count a call of another thread, where there is no limit, until it is over."""
        self._outside.add(call)

    def over(self, call: object) -> None:
        """Count it no more. Who is interrupted may say so twice, and of one that never began."""
        self._outside.discard(call)

    # --- places by name ------------------------------------------------------------------

    def hold(self, place: str, until: float) -> None:
        """Keep a place that was taken under a name, until it is freed or a monotonic instant."""
        if len(self._held) >= HELD and not self.bounded:
            self.leave()
            return
        self._held[place] = until
        self._lapses_at = min(self._lapses_at, until)

    def keep(self, place: str) -> None:
        """Let a place that is held lapse no more."""
        if place in self._held:
            self._held[place] = inf

    def renew(self, place: str, until: float) -> bool:
        """Hold a place for longer; False where it has lapsed, and another call may have it."""
        if place in self._held:
            self._held[place] = max(self._held[place], until)
            return True
        return not self.bounded

    def free(self, place: str) -> None:
        """Give back what is held under a name, if anything is."""
        if self._held.pop(place, None) is not None:
            self.leave()

    def lapse(self) -> None:
        """Give back the places whose time is over."""
        now = self._clock.monotonic()
        if now < self._lapses_at:
            return
        for place in [place for place, until in self._held.items() if until <= now]:
            self.free(place)
        self._lapses_at = min(self._held.values(), default=inf)

    @property
    def _has_place(self) -> bool:
        return self.in_flight < self._most

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._policy.max_wait):
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


def _most(policy: CircuitPolicy) -> float:
    """Calls that may be under way at once."""
    return policy.max_concurrent or inf
