"""Ends of a user's sessions: all, all but one, or one. They hold here though Redis cannot be asked.

All of a user end by a cut-off, a join like the end of everybody's: it outlives this instance where
the outbox is on disk, and reaches all others. One that spares a session, or means only one, cannot
be said so: it is held here until Redis can be asked which sessions those are.
"""

from __future__ import annotations

import asyncio

from ...errors import OutageError
from ...sessions.ids import SessionRef, sessions_of
from ..revocations.receipt import Level, Receipt
from .ends import REMOVE_LIMIT, Living, SessionEnds, least
from .held_ends import HeldEnd
from .owed_ends import OwedEnds
from .store import NO_ANSWER, SessionStore


class UserEnds:
    """Ends sessions by their user. Deadlines are monotonic seconds.

    Args:
        owed: holds what Redis cannot be asked about.
    """

    def __init__(
        self, store: SessionStore, ends: SessionEnds, owed: OwedEnds, digest_key: bytes
    ) -> None:
        self._store = store
        self._ends = ends
        self._owed = owed
        self._digest_key = digest_key

    async def end_all(self, home: SessionRef, until: float) -> tuple[int | None, Receipt]:
        """End all that began until now, of the user of an index.

        Returns:
            How many there were, None where Redis cannot be asked, and how far that got.
        """
        known, owed = self._store.cut_off(home), self._owed_now(home)
        cut, found = await asyncio.gather(
            self._ends.cut_off(sessions_of(self._digest_key, home), owed.cut_off, until),
            self._listed(home, until, cut_off=known),
        )
        if found is None:
            self._owed.hold(owed)  # the cut-off holds where there is no room for it
            return None, cut
        meant = found.infos
        if not meant:
            return 0, cut
        return len(meant), least(
            [cut, await self._ends.end_members(home, meant, found.before, until)]
        )

    async def end_meant(
        self,
        home: SessionRef,
        until: float,
        *,
        spared: bytes | None = None,
        only: bytes | None = None,
    ) -> tuple[int | None, Receipt]:
        """End all of a user but one, or only one; returns as `end_all` does.

        Raises:
            OutageError: Redis cannot be asked, and too much is held for it already, of this user
                or of all.
        """
        owed = self._owed_now(home)._replace(spared=spared, only=only)
        found = await self._listed(home, until, cut_off=self._store.cut_off(home))
        if found is None:
            if not self._owed.hold(owed):
                raise OutageError("Redis cannot be asked, and too many ends wait for it")
            return None, Receipt(Level.LOCAL, Level.PRIMARY)
        meant = {m: info for m, info in found.infos.items() if owed.names(m, found.before[m])}
        return len(meant), await self._ends.end_members(home, meant, found.before, until)

    async def carry_out(self, owed: HeldEnd) -> bool:
        """End what was held, of what Redis knows; whether it has answered."""
        until, home = self._store.until(REMOVE_LIMIT), owed.home
        found = await self._listed(home, until, cut_off=0)
        if found is None:
            return False
        meant = {
            member: info
            for member, info in found.infos.items()
            if owed.means(member, info.created_at, found.before[member])
        }
        await self._ends.end_members(home, meant, found.before, until)
        return True

    def _owed_now(self, home: SessionRef) -> HeldEnd:
        cut_off = self._ends.next_cut_off(self._store.beginning(home))
        return HeldEnd(home, cut_off, self._ends.latest_end())

    async def _listed(self, home: SessionRef, until: float, *, cut_off: int) -> Living | None:
        """The sessions younger than a cut-off (Unix ms) that have no tombstone.

        None where Redis cannot be asked.
        """
        try:
            return await self._ends.listed(home, until, cut_off=cut_off)
        except NO_ANSWER:
            return None
