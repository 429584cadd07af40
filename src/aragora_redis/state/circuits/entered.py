"""Who is inside of a circuit that is used as a context, and under which guard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

Who = TypeVar("Who")


class Nests(Protocol):
    """A guard, and the one under which whoever has entered is inside already."""

    outer: Self | None


G = TypeVar("G", bound=Nests)


class Entered(Generic[Who, G]):
    """The guards of those who have entered, tasks or threads, for who leaves; one asks at a time.

    That may be another one: after a fixture's task has ended, or where a streamed response closes
    the `AsyncExitStack` of its request. Whose guard it is cannot be told then, but each place is
    given back once.

    Args:
        who: who it is that asks.
        over: whether somebody who has entered has ended since, and leaves no more.
    """

    def __init__(self, who: Callable[[], Who], over: Callable[[Who], bool]) -> None:
        self._who = who
        self._over = over
        self._guards: dict[Who, G] = {}

    def add(self, guard: G) -> None:
        """Note that somebody has entered."""
        who = self._who()
        guard.outer = self._guards.get(who)
        self._guards[who] = guard

    def take(self) -> G:
        """The guard to end where somebody leaves: of their own, of one who has ended, or of any.

        Raises:
            RuntimeError: nobody is inside.
        """
        if not self._guards:
            raise RuntimeError("the circuit was left more often than it was entered")
        alone = len(self._guards) == 1
        who = next(reversed(self._guards)) if alone else self._leaving()
        guard = self._guards[who]
        self._remove(who, guard)
        return guard

    def undo(self, guard: G) -> None:
        """Take back `add`, for who was interrupted in it."""
        who = self._who()
        if self._guards.get(who) is guard:
            self._remove(who, guard)

    def forget_those_over(self) -> None:
        """Forget who has entered and leaves no more, in this process."""
        self._guards = {who: each for who, each in self._guards.items() if not self._over(who)}

    def _remove(self, who: Who, guard: G) -> None:
        # In one step, behind which no signal's handler comes before the guard is returned: who is
        # interrupted in `take` takes it again, and else nobody may.
        if guard.outer is None:
            del self._guards[who]
        else:
            self._guards[who] = guard.outer

    def _leaving(self) -> Who:
        who = self._who()
        if who in self._guards:
            return who
        return next(filter(self._over, self._guards), next(iter(self._guards)))
