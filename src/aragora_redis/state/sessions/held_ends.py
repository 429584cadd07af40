"""Ends of a user's sessions that Redis could not be asked about: in force here, and owed to it.

Which sessions a user has is in Redis only, so while that cannot be asked they get no tombstones.
What is held names them by their user and by when they began, and each read here is judged by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ...sessions.ids import SessionRef

ROOM = 65_536
"""Ends that may be held."""
ROOM_OF_USER = 64
"""Of these for one user, whose handles may be made up, and each of whose reads asks them all."""


class HeldEnd(NamedTuple):
    """The end of a user's sessions.

    Attributes:
        home: the user's index.
        cut_off: Unix milliseconds; where not one alone is meant, what began later is not.
        until: Unix seconds, when all that is meant has ended by itself.
        spared: the one that lives on.
        only: the one that is meant, where not all are.
    """

    home: SessionRef
    cut_off: int
    until: float
    spared: bytes | None = None
    only: bytes | None = None

    def means(self, member: bytes, created_at: float, before: tuple[bytes, ...]) -> bool:
        """Whether a session of the user that began then (Unix seconds) is to end.

        Args:
            member: its digest.
            created_at: when it began.
            before: the digests that it had before rotations, of which others may not be known here.
        """
        # The only one is meant whenever it began: a clock may have gone back since.
        return self.names(member, before) and (
            self.only is not None or began(created_at) <= self.cut_off
        )

    def names(self, member: bytes, before: tuple[bytes, ...]) -> bool:
        """Whether it is the only one that is meant, or not the one that is spared."""
        ids = (member, *before)
        return self.spared not in ids if self.only is None else self.only in ids


class HeldEnds:
    """What is held, bounded in number, of one user too."""

    def __init__(self) -> None:
        self._held: dict[SessionRef, list[HeldEnd]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[HeldEnd]:
        return iter([end for ends in self._held.values() for end in ends])

    def hold(self, end: HeldEnd) -> bool:
        """Hold one; False where there is no room."""
        ends = self._held.get(end.home, [])
        same = [each for each in ends if each[3:] == end[3:]]
        if not same and (self._count >= ROOM or len(ends) >= ROOM_OF_USER):
            return False
        self._held[end.home] = [each for each in ends if each not in same] + [end]
        self._count += 1 - len(same)
        return True

    def drop(self, end: HeldEnd) -> None:
        """Hold one no more: Redis has taken it, or it is over."""
        ends = self._held.get(end.home, [])
        if end in ends:
            ends.remove(end)
            self._count -= 1
        if not ends:
            self._held.pop(end.home, None)

    def postpone(self, home: SessionRef) -> None:
        """Put a user behind all others, who are not to wait for what keeps this one's ends."""
        if home in self._held:
            self._held[home] = self._held.pop(home)

    def has_ended(
        self, home: SessionRef, member: bytes, created_at: float, before: tuple[bytes, ...] = ()
    ) -> bool:
        """Whether a user's session has ended by what is held; the rest is as for `means`."""
        ends = self._held.get(home)
        return ends is not None and any(end.means(member, created_at, before) for end in ends)

    def cut_off(self, home: SessionRef) -> int:
        """What a session that begins now must be younger than, in Unix milliseconds; 0 for all."""
        return max((end.cut_off for end in self._held.get(home, ()) if not end.only), default=0)


def began(created_at: float) -> int:
    """When a session began, as cut-offs count: whole milliseconds."""
    return math.floor(created_at * 1000)
