"""From when to when a state answers."""

from __future__ import annotations

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

    def begin(self) -> None:
        """It is in use."""
        self.lives = True

    def end(self) -> None:
        """It is not any more. What was begun may still end."""
        self.lives = False

    def require(self) -> None:
        """Refuse what would begin.

        Raises:
            NotStartedError: the state is not in use.
        """
        if not self.lives:
            raise NotStartedError
