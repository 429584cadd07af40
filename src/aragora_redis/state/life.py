"""From when to when a state answers."""

from __future__ import annotations

import os
from weakref import WeakSet

from ..errors import NotStartedError


class Life:
    """Whether a state is in use: from `start` on, until `close`.

    Before and after, every question and every act raises, also where this process could answer
    alone: nobody would follow what is revoked, or tell Redis what was admitted. A Redis that is not
    reached is another matter: that is an outage, of a state that lives.

    Args:
        begun: whether it is in use already.
    """

    def __init__(self, *, begun: bool = False) -> None:
        self.lives = begun
        """Whether it is in use now."""
        self.elsewhere = False
        """Whether it is in use in the process that this one was forked from."""

    def begin(self) -> None:
        """It is in use."""
        self.lives = True

    def end(self) -> None:
        """It is not any more. What was begun may still end."""
        self.lives = False
        _bound.discard(self)

    def bind(self) -> None:
        """It has connections and tasks, which no process has that is forked from this one."""
        _bound.add(self)

    def require(self) -> None:
        """Refuse what would begin.

        Raises:
            NotStartedError: the state is not in use.
        """
        if self.elsewhere:
            raise NotStartedError(
                "the state was started before this process was forked, and lives in its parent",
                remedy="start it in each worker, as the lifespan of an application does",
            )
        if not self.lives:
            raise NotStartedError


_bound: WeakSet[Life] = WeakSet()


def _leave_to_parent() -> None:
    for life in tuple(_bound):
        life.lives, life.elsewhere = False, True


os.register_at_fork(after_in_child=_leave_to_parent)
