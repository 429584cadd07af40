"""Walks all states that a model can reach, the nearest first, and tells the way to a bad one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)

Step = tuple[str, ...]
"""What happens, and to whom."""


class Bad(NamedTuple, Generic[S]):
    """A state that must not be, and the shortest way to it."""

    why: str
    steps: tuple[Step, ...]
    state: S


class Explored(NamedTuple, Generic[S]):
    """What an exploration came to.

    Attributes:
        states: how many there are.
        steps: how many lead from one to another.
        bad: the first that must not be, or None.
    """

    states: int
    steps: int
    bad: Bad[S] | None


def explore(
    first: S,
    successors: Callable[[S], Iterable[tuple[Step, S]]],
    fault: Callable[[S], str | None],
    *,
    most: int,
) -> Explored[S]:
    """Visit every state once, breadth first.

    Args:
        first: where it begins.
        successors: what may happen next, and what the state is then.
        fault: why a state must not be, or None.
        most: states after which it gives up.

    Raises:
        OverflowError: there are more.
    """
    came_from: dict[S, tuple[S, Step] | None] = {first: None}
    waiting = deque([first])
    steps = 0
    while waiting:
        state = waiting.popleft()
        if why := fault(state):
            return Explored(len(came_from), steps, Bad(why, _way(came_from, state), state))
        for step, after in successors(state):
            steps += 1
            if after not in came_from:
                came_from[after] = state, step
                waiting.append(after)
        if len(came_from) > most:
            raise OverflowError(f"more than {most} states")
    return Explored(len(came_from), steps, None)


def _way(came_from: dict[S, tuple[S, Step] | None], state: S) -> tuple[Step, ...]:
    steps = []
    while (link := came_from[state]) is not None:
        state, step = link
        steps.append(step)
    return tuple(reversed(steps))
