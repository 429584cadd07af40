"""The ends of sessions, one or all of a user: a tombstone that lasts, and the removal.

What ends is the session and not an id of it: the ids that it had before rotations end with it,
since a failover that loses a rotation would bring them back; and one that was rotated meanwhile is
followed to where it is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from ...errors import SessionConflictError
from ...sessions import operations
from ...sessions.ages import by_age, too_many
from ...sessions.ids import SessionRef
from ...sessions.operations import LIST_PAGE, Ended
from ...sessions.policy import LONGEST, SessionPolicy
from ...sessions.stored import Answer, Moved, Session, SessionInfo
from ...tokens.entry import DAY, Entry, RevocationKind, ended_session
from ...tokens.note import Note
from ..revocations.receipt import Receipt
from ..revocations.revocations import Revocations
from .held_ends import began
from .owed_ends import OwedEnds, Removal
from .store import HOPS, NO_ANSWER, SessionStore, gone

T = TypeVar("T")

REMOVE_LIMIT = 0.5
"""Seconds that a removal in the background may take."""


class Living(NamedTuple):
    """Sessions of one user.

    Attributes:
        infos: what may be shown of each, by its digest, in no order.
        before: the digests that each had before rotations.
        now: the server's time in Unix seconds at the last look, 0 for none.
    """

    infos: dict[bytes, SessionInfo]
    before: dict[bytes, tuple[bytes, ...]]
    now: float


class SessionEnds:
    """Ends sessions, and knows which ones a user has. Deadlines are monotonic seconds.

    Args:
        owed: does later what Redis does not answer now.
        server_now: the server's clock in Unix seconds.
    """

    def __init__(
        self,
        store: SessionStore,
        revocations: Revocations,
        owed: OwedEnds,
        *,
        policy: Callable[[], SessionPolicy],
        server_now: Callable[[], float],
    ) -> None:
        self._store = store
        self._revocations = revocations
        self._owed = owed
        self._policy = policy
        self._server_now = server_now

    async def end(
        self,
        ref: SessionRef,
        expires_at: float,
        index: SessionRef | None,
        until: float,
        *,
        before: tuple[bytes, ...] = (),
    ) -> Receipt:
        """Tombstones and removal at once, of the session wherever it is by now.

        Args:
            ref: where it was.
            expires_at: its absolute end, in Unix seconds.
            index: of the user whose it is.
            until: the deadline.
            before: digests of ids that it is known to have had.

        Raises:
            SessionConflictError: it keeps being rotated.
        """
        receipts: list[Receipt] = []
        for _ in range(2 * HOPS):
            successor = self._store.trace(ref)
            self._store.forget(ref)
            members = (ref.member, *before)
            removal = Removal(ref, index, expires_at, before)
            buried, answer = await asyncio.gather(
                self._bury(members, expires_at, until), self._remove(ref, index, until)
            )
            receipts += buried
            if answer is None:
                self._owed.remove(removal)
            elif isinstance(answer, Ended):
                others = [member for member in answer.before if member not in members]
                receipts += await self._bury(others, expires_at, until)
            elif isinstance(answer, Moved):
                successor = answer
            elif successor is None:
                try:
                    receipts += await self._end_elsewhere(removal, until)
                except NO_ANSWER:
                    self._owed.remove(removal)
            if successor is None or isinstance(answer, Ended):
                return least(receipts)
            ref, before = ref.moved(successor.member), members
        raise SessionConflictError("the session keeps being rotated")

    async def end_unchanged(
        self, session: Session, index: SessionRef | None, until: float
    ) -> Receipt:
        """End a session, if it still is as it was read.

        Raises:
            SessionConflictError, SessionGoneError: it is not; nothing was ended.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        end = operations.end(
            self._store.keys,
            session.ref,
            index=index,
            nonce=secrets.token_hex(8),
            version=session.version,
        )
        answer = await self._store.run_change(session.ref, end, until)
        if not isinstance(answer, Ended):
            if answer == "gone":
                raise gone()
            raise SessionConflictError("somebody else has changed the session since")
        members = {session.ref.member, *session.before, *answer.before}
        return least(await self._bury(members, answer.expires_at, until))

    async def index(self, home: SessionRef, until: float) -> dict[bytes, float]:
        """The digests of a user's sessions with their absolute ends, in the order of these.

        Some may have lapsed, or ended while Redis could not be asked.
        """
        found = await self._store.run(operations.of_user(self._store.keys, home), until)
        return dict(found)

    async def living(self, home: SessionRef, until: float) -> dict[bytes, SessionInfo]:
        """What may be shown of a user's sessions, oldest first.

        What has lapsed is taken out of the index.
        """
        found = await self.listed(home, until)
        return by_age(found.infos, found.now)

    async def end_too_many(
        self, home: SessionRef, made: bytes, until: float, *, replaced: SessionRef | None = None
    ) -> None:
        """End the user's oldest sessions, where the policy allows fewer; `made` began just now.

        What that replaces counts as gone, and is left to whoever ends it.
        """
        most = self._policy().max_per_user
        if len(await self.index(home, until)) > most:
            living, before, now = await self.listed(home, until)
            if replaced is not None:
                living.pop(replaced.member, None)
            oldest = too_many(living, now, most=most, made=made)
            await self.end_members(home, oldest, before, until)

    async def listed(self, home: SessionRef, until: float, *, cut_off: int | None = None) -> Living:
        """The sessions that live.

        With a cut-off (Unix milliseconds): those that did when only that one was known.
        """
        looked, before, now = await self._looked_at(home, until)
        living = {
            member: info
            for member, info in looked.items()
            if info
            and not (
                self._has_ended(home, member, info, before)
                if cut_off is None
                else began(info.created_at) <= cut_off
            )
        }
        return Living(living, before, now)

    async def _looked_at(
        self, home: SessionRef, until: float
    ) -> tuple[dict[bytes, SessionInfo | None], dict[bytes, tuple[bytes, ...]], float]:
        """As `_look`, of all that the index has but those that have ended.

        One that is there no more may have got another id since the index was read.
        """
        looked: dict[bytes, SessionInfo | None] = {}
        before: dict[bytes, tuple[bytes, ...]] = {}
        now = 0.0
        for _ in range(HOPS):
            fresh = [
                member
                for member in await self.index(home, until)
                if member not in looked and not self._revocations.has_ended(member)
            ]
            if not fresh and looked:
                break
            found, names, now = await self._look(home, fresh, until)
            looked |= found
            before |= names
            if all(found.values()):
                break
        return looked, before, now

    def _has_ended(
        self,
        home: SessionRef,
        member: bytes,
        info: SessionInfo,
        before: Mapping[bytes, tuple[bytes, ...]],
    ) -> bool:
        ref = SessionRef(home.shard, member)
        return self._store.has_ended(ref, info.created_at, home, before[member])

    async def take_out_lapsed(self, home: SessionRef, until: float) -> int:
        """Take out of a user's index what does not live; how many do."""
        index = await self.index(home, until)
        ended = [member for member in index if self._revocations.has_ended(member)]
        for page in _pages([SessionRef(home.shard, member) for member in ended]):
            await asyncio.gather(*(self._remove(ref, home, until) for ref in page))
        looked, before, _ = await self._look(home, [m for m in index if m not in ended], until)
        over = {
            member: info
            for member, info in looked.items()
            if info and self._has_ended(home, member, info, before)
        }
        cut_off = self._store.cut_off(home)
        with_all = [m for m, info in over.items() if began(info.created_at) <= cut_off]
        for members in _pages(with_all):
            refs = [SessionRef(home.shard, member) for member in members]
            await asyncio.gather(*(self._remove(ref, home, until) for ref in refs))
        held = {member: info for member, info in over.items() if member not in with_all}
        if held:  # by no cut-off, so they would come back with a removal that is lost
            await self.end_members(home, held, before, until)
        return sum(info is not None for info in looked.values()) - len(over)

    async def _look(
        self, home: SessionRef, members: list[bytes], until: float
    ) -> tuple[dict[bytes, SessionInfo | None], dict[bytes, tuple[bytes, ...]], float]:
        """As in `Living`, but with None for those that have lapsed, which leave the index."""
        found: dict[bytes, SessionInfo | None] = {}
        before: dict[bytes, tuple[bytes, ...]] = {}
        now = 0.0
        for page in _pages(members):
            listed = await self._store.run(operations.look(self._store.keys, home, page), until)
            found |= zip(page, listed.infos, strict=True)
            before |= zip(page, listed.before, strict=True)
            now = listed.now
        return found, before, now

    async def end_members(
        self,
        home: SessionRef,
        members: Mapping[bytes, SessionInfo],
        before: Mapping[bytes, tuple[bytes, ...]],
        until: float,
    ) -> Receipt:
        """End these sessions of one user, and the ids that each had `before` rotations."""
        receipts: list[Receipt] = []
        left = [
            Removal(SessionRef(home.shard, member), home, info.expires_at, before[member])
            for member, info in members.items()
        ]
        for _ in range(HOPS):
            moved: list[Removal] = []
            for page in _pages(left):
                for buried, successor in await asyncio.gather(
                    *(self._end_one(removal, until) for removal in page)
                ):
                    receipts += buried
                    moved += [] if successor is None else [successor]
            left = moved
            if not left:
                break
        return least(receipts) if receipts else await self._revocations.end_sessions(())

    async def _end_one(
        self, removal: Removal, until: float
    ) -> tuple[list[Receipt], Removal | None]:
        """End one that was listed; with what is to be ended in its place, if it has moved."""
        ref, home, expires_at, before = removal
        self._store.forget(ref)
        # Whoever removes it may know of no rotation any more: what was listed is buried unasked.
        members = (ref.member, *before)
        buried, answer = await asyncio.gather(
            self._bury(members, expires_at, until), self._remove(ref, home, until)
        )
        if answer is None:
            self._owed.remove(removal)
        elif isinstance(answer, Ended):
            others = [member for member in answer.before if member not in members]
            buried += await self._bury(others, expires_at, until)
        elif isinstance(answer, Moved):
            return buried, Removal(ref.moved(answer.member), home, expires_at, members)
        return buried, None

    async def end_all(self, all_sessions: bytes, until: float) -> Receipt:
        """End all sessions that began until now.

        Where the clock has gone back since the last time, those that began since are younger than
        that by what `session_create` gives them.
        """
        cut_off = self.next_cut_off(self._store.cut_off(None))
        return await self.cut_off(all_sessions, cut_off, until)

    def next_cut_off(self, last: int) -> int:
        """Now in Unix milliseconds, or what is after `last` and all that began since.

        The server's clock is known from one sample, and goes back where the next primary's is
        behind, so it may be before what it has given to a session already. What lies further ahead
        than a session can live is no time.
        """
        now = self._server_now()
        cut_off = max(began(now), began(min(self._store.newest, now + LONGEST)))
        return max(cut_off, last + 2) if last else cut_off

    async def cut_off(self, member: bytes, cut_off: int, until: float) -> Receipt:
        """Join the cut-off of all sessions, or of a user's."""
        note = Note(RevocationKind.SESSION).text
        entry = Entry(int(self.latest_end() // DAY), member, cut_off, note)
        return await self._revocations.end_sessions([entry], within=self._store.left(until))

    def latest_end(self) -> float:
        """When a session that exists now ends by itself at the latest.

        Under whatever policy it began: another was in force earlier, or is on another instance.
        """
        return self._server_now() + LONGEST

    def disown(self, session: Session, index: SessionRef | None) -> None:
        """Remove, when Redis can be asked, a session whose id nobody was told."""
        self._store.forget(session.ref)
        self._owed.remove(Removal(session.ref, index, session.expires_at))

    async def _bury(
        self, members: Iterable[bytes], expires_at: float, until: float
    ) -> list[Receipt]:
        """Join tombstones to the revocations; no receipt for none."""
        tombstones = [ended_session(member, expires_at) for member in members]
        if not tombstones:
            return []
        return [await self._revocations.end_sessions(tombstones, within=self._store.left(until))]

    async def _remove(
        self, ref: SessionRef, index: SessionRef | None, until: float
    ) -> Ended | Answer | None:
        """Take a session out of Redis; None where that gives no answer: the tombstone holds."""
        end = operations.end(self._store.keys, ref, index=index, nonce=secrets.token_hex(8))
        try:
            return await self._store.run(end, until)
        except NO_ANSWER:
            return None

    async def remove_again(self, removal: Removal) -> bool:
        """Repeat a removal, and end what it was rotated to meanwhile; whether Redis answered."""
        until = self._store.until(REMOVE_LIMIT)
        ref, index, expires_at, before = removal
        members = (ref.member, *before)
        answer = await self._remove(ref, index, until)
        if isinstance(answer, Moved):
            successor = ref.moved(answer.member)
            try:
                await self.end(successor, expires_at, index, until, before=members)
            except SessionConflictError:
                self._owed.remove(Removal(successor, index, expires_at, members))
        elif isinstance(answer, Ended):
            await self._bury(answer.before, expires_at, until)
        elif answer is not None:
            try:
                await self._end_elsewhere(removal, until)
            except NO_ANSWER:
                return False
        return answer is not None

    async def _end_elsewhere(self, removal: Removal, until: float) -> list[Receipt]:
        """End a session that is not where it was: its user's index has what it was rotated to.

        That may be rotations ago, or one that a failover has lost and another has followed.

        Raises:
            OutageError, OutcomeUnknownError, UnexpectedReplyError: Redis does not tell.
        """
        ref, home, _, before = removal
        if home is None:
            return []
        ids = {ref.member, *before}
        infos, before_of, _ = await self._look(home, list(await self.index(home, until)), until)
        same = {
            member: info
            for member, info in infos.items()
            if info and not ids.isdisjoint((member, *before_of[member]))
        }
        return [await self.end_members(home, same, before_of, until)] if same else []


def least(receipts: list[Receipt]) -> Receipt:
    """The receipt of what got least far."""
    return min(receipts, key=lambda receipt: receipt.level)


def _pages(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + LIST_PAGE] for start in range(0, len(items), LIST_PAGE))
