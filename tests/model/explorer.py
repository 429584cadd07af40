"""Walks all states that a model can reach, the nearest first, and tells the way to a bad one.

Of what was visited only a signature is kept, and whose successor it was: some hundred bytes, where
a state has thousands. So the way is found by walking it once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)

Step = tuple[str, ...]
"""What happens, and to whom."""
TOLD_EVERY = 100_000
"""States between two words about how far it is."""


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


class Progress(NamedTuple):
    """How far an exploration is.

    Attributes:
        states: that are known.
        steps: that were taken.
        waiting: states whose successors are not known yet.
    """

    states: int
    steps: int
    waiting: int


def explore(
    first: S,
    successors: Callable[[S], Iterable[tuple[Step, S]]],
    fault: Callable[[S], str | None],
    *,
    most: int,
    sign: Callable[[S], int] = hash,
    tell: Callable[[Progress], object] = lambda _: None,
) -> Explored[S]:
    """Visit every state once, breadth first.

    Args:
        first: where it begins.
        successors: what may happen next, and what the state is then.
        fault: why a state must not be, or None.
        most: states after which it gives up.
        sign: the signature of a state. States that share one count as one, so they must be alike in
            all that may follow them, but for a chance in 2^61.
        tell: hears now and then how far it is.

    Raises:
        OverflowError: there are more.
    """
    start = sign(first)
    came_from = {start: start}
    waiting = deque([(first, start)])
    steps = told = 0
    while waiting:
        state, signed = waiting.popleft()
        if fault(state):
            way, bad = _way(came_from, signed, first, successors, sign)
            return Explored(len(came_from), steps, Bad(fault(bad) or "", way, bad))
        for _, after in successors(state):
            steps += 1
            signed_after = sign(after)
            if signed_after not in came_from:
                came_from[signed_after] = signed
                waiting.append((after, signed_after))
        if len(came_from) > most:
            raise OverflowError(f"more than {most} states")
        if len(came_from) >= told + TOLD_EVERY:
            told = len(came_from)
            tell(Progress(told, steps, len(waiting)))
    return Explored(len(came_from), steps, None)


def _way(
    came_from: dict[int, int],
    signed: int,
    first: S,
    successors: Callable[[S], Iterable[tuple[Step, S]]],
    sign: Callable[[S], int],
) -> tuple[tuple[Step, ...], S]:
    """The steps from the first state to one of this signature, and that one."""
    signs = []
    while (before := came_from[signed]) != signed:
        signs.append(signed)
        signed = before
    steps, state = [], first
    for wanted in reversed(signs):
        step, state = next(each for each in successors(state) if sign(each[1]) == wanted)
        steps.append(step)
    return tuple(steps), state
