"""What a resolver says of the one name behind which a managed service moves its primary. Pure.

A provider points the name at another server when it replaces the primary, and may leave the former
one up: read-only, or frozen and still sure that it is the primary. Connections to it do not end by
themselves, so an address that the name no longer has is a reason to give them up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

UNANSWERED = 0.03
"""Seconds after which nobody waits for a resolver any longer: it may be down while Redis is not."""
STRAYS, STRAY_WINDOW = 5, 30.0
"""Times in so many seconds that connections strayed after which a name is taken to rotate."""
SETTLED = 10.0
"""Seconds of the same answer after which it is not any more."""


class Moved(NamedTuple):
    """The name leads to other addresses, none of which it had before."""

    old: str
    new: str


class EndpointPanel:
    """What the name's addresses are, and what follows for connections to one of them."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self._asked_at = float("-inf")
        self._unanswered = False
        self._silent = False
        self._settled_at = float("-inf")
        self._told_at = float("-inf")
        self._strays: deque[float] = deque(maxlen=STRAYS)
        self.rotates = False
        """Whether it answers with other addresses each time, so that they tell nothing."""

    def ask(self, now: float) -> None:
        """Note that the resolver is asked, at `now` (monotonic seconds)."""
        self._asked_at = now
        self._unanswered = True

    def tell(self, addresses: Collection[str]) -> Moved | None:
        """Take in an answer to what was asked last; whether the name leads elsewhere."""
        self._told_at = self._asked_at
        self._unanswered = self._silent = False
        if set(addresses) != set(self.addresses):
            self._settled_at = self._asked_at
        return self._lead_to(addresses)

    def arrive(self, peer: str) -> Moved | None:
        """Take in that a connection has found its way there, perhaps before the resolver told."""
        return None if peer in self.addresses or self.rotates else self._lead_to((peer,))

    def _lead_to(self, addresses: Collection[str]) -> Moved | None:
        before, self.addresses = self.addresses, tuple(addresses)
        if not before or not self.addresses or set(before) & set(self.addresses):
            return None
        return Moved(before[0], self.addresses[0])

    def fail(self) -> None:
        """What was asked last has no answer: nobody can know more."""
        self._told_at = self._asked_at
        self._unanswered, self._silent = False, True

    def strays(self, peers: Collection[str], now: float) -> bool:
        """Whether connections to these addresses are to be given up.

        A name with more addresses than one answer holds is left alone, once that is seen.
        """
        if self.rotates and now - self._settled_at > SETTLED:
            self.rotates = False
            self._strays.clear()
        if self.rotates or not self.addresses or set(peers) <= set(self.addresses):
            return False
        if len(self._strays) == STRAYS and now - self._strays[0] < STRAY_WINDOW:
            self.rotates = True
            return False
        self._strays.append(now)
        return True

    def heard_since(self, instant: float, now: float) -> bool:
        """Whether the resolver was asked after `instant` and has answered, or does not answer."""
        overdue = self._unanswered and now - self._asked_at > UNANSWERED
        return self._told_at >= instant or self._silent or overdue
