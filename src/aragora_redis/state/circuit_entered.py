"""Who is inside of a circuit that is used as a context, and under which guard."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Who = TypeVar("Who")
G = TypeVar("G")


class Entered(Generic[Who, G]):
    """The guards of those who have entered, tasks or threads, for who leaves.

    That may be another one: after a fixture's task has ended, or where a streamed response closes
    the `AsyncExitStack` of its request. Whose guard it is cannot be told then, but each place is
    given back once.

    Args:
        over: whether somebody who has entered has ended since, and leaves no more.
    """

    def __init__(self, over: Callable[[Who], bool]) -> None:
        self._over = over
        self._guards: dict[Who, list[G]] = {}
        self._lock = threading.Lock()

    def add(self, who: Who, guard: G) -> None:
        """Note that somebody has entered."""
        with self._lock:
            self._guards.setdefault(who, []).append(guard)

    def take(self, who: Who) -> G:
        """The guard to end where somebody leaves: of their own, of one who has ended, or of any.

        Raises:
            RuntimeError: nobody is inside.
        """
        with self._lock:
            if not self._guards:
                raise RuntimeError("the circuit was left more often than it was entered")
            if who not in self._guards:
                who = next(filter(self._over, self._guards), next(iter(self._guards)))
            guards = self._guards[who]
            guard = guards.pop()
            if not guards:
                del self._guards[who]
            return guard
