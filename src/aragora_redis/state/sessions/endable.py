"""Sessions listed by user and ended for good, each end an act that may have been done by hand.

A session that was ended never comes back: its end is a tombstone that joins the revocations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from ...audit.act import Act
from ...clock import Clock
from ...digests import digest_of
from ...errors import (
    InvalidInputError,
    SessionConflictError,
    SessionGoneError,
    SessionUnreadableError,
    TooManySessionsError,
)
from ...events import Events, SessionWrite
from ...names import validate_text
from ...operation import Runs
from ...sessions.ids import SessionRef, all_sessions, member_of_handle, parse_id, user_ref
from ...sessions.operations import SessionKeys
from ...sessions.policy import SessionPolicy
from ...sessions.stored import Session, SessionInfo, Source
from ...times import Duration, in_seconds
from ...tokens.entry import VALUE_LIMIT
from ..audit.audit import UNRECORDED, Recorder
from ..life import Life
from ..revocations.receipt import Receipt
from ..revocations.revocations import Revocations
from .ends import SessionEnds
from .held_ends import HeldEnds
from .owed_ends import OwedEnds
from .store import NO_ANSWER, SessionStore, gone
from .user_ends import UserEnds

T = TypeVar("T")

WRITE_LIMIT = 1.0
"""Seconds that a change may take: it waits for a failover that is nearly over."""


class EndedSessions(Struct, frozen=True):
    """How many sessions were ended, and how far that got.

    Attributes:
        count: how many; None where Redis could not be asked. Then they have ended here, and the
            receipt says what becomes of that: its `outbox` is where it waits for Redis.
        receipt: of what got least far.
    """

    count: int | None
    receipt: Receipt

    def __str__(self) -> str:
        if self.count is None:
            return f"ended, {self.receipt.level.word}; Redis could not be asked how many"
        return f"{self.count} ended, {self.receipt.level.word}" if self.count else "had none"


class EndableSessions:
    """Sessions as whoever ends them sees them. A call keeps one deadline, `within` seconds.

    Args:
        executor: the way to Redis, or this process alone.
        revocations: of the fleet, among which ended sessions are.
        life: from when to when anything is answered.
        keys: where and how they are stored.
        server_now: the server's clock in Unix seconds.
        deny_on_outage: give no copy while Redis cannot be asked.
        deadline: seconds that a read may take.
        source: who it is that is asked.
        audit: records what names an actor.
    """

    def __init__(
        self,
        executor: Runs,
        revocations: Revocations,
        *,
        life: Life,
        policy: SessionPolicy,
        clock: Clock,
        events: Events,
        server_now: Callable[[], float],
        keys: SessionKeys,
        digest_key: bytes,
        deny_on_outage: bool,
        deadline: float,
        source: Source,
        audit: Recorder = UNRECORDED,
    ) -> None:
        self._life = life
        self._audit = audit
        self._policy = policy
        self._events = events
        self._digest_key = digest_key
        self._deadline = deadline
        self._source = source
        self._server_now = server_now
        held = HeldEnds()
        self._store = SessionStore(
            executor,
            revocations,
            clock=clock,
            events=events,
            keys=keys,
            held=held,
            digest_key=digest_key,
            deny_on_outage=deny_on_outage,
            source=source,
        )
        self._owed = OwedEnds(revocations, held, clock, server_now)
        self._ends = SessionEnds(
            self._store, revocations, self._owed, policy=lambda: self._policy, server_now=server_now
        )
        self._user_ends = UserEnds(self._store, self._ends, self._owed, digest_key)

    async def run(self) -> None:
        """Do in the background what is owed to sessions that have ended, until cancelled."""
        await self._owed.run(self._ends.remove_again, self._user_ends.carry_out)

    async def finish(self) -> None:
        """Do what must not be left undone when this instance ends."""
        self._owed.end_all()

    def use(self, policy: SessionPolicy) -> None:
        """Put another policy in force, for what is done to sessions from now on."""
        self._policy = policy

    async def end(
        self,
        session: Session | str,
        *,
        reason: str = "",
        actor: str = "",
        within: Duration = WRITE_LIMIT,
    ) -> Receipt:
        """End a session for good: here at once, and as far as the receipt's level says.

        The ids that it had before rotations end with it.

        Args:
            session: it, or its id.
            reason: why, for the record.
            actor: who does this; the act is recorded then (`state.audit`). Leave it out where users
                end what is theirs, as at a logout.
            within: seconds that it may take.

        Raises:
            InvalidInputError: the actor or the reason cannot be; nothing was ended.
            SessionGoneError: there is no such session.
            SessionConflictError: it keeps being rotated; end it once more.
        """
        with self._counted("end"):
            until = self._until(within)
            read = session if isinstance(session, Session) else None
            ref = (
                session.ref if isinstance(session, Session) else parse_id(self._digest_key, session)
            )
            if ref is None:
                raise gone()
            return await self._by_hand(
                f"session {digest_of(ref.member)}",
                lambda: self._end(ref, read, until),
                _level,
                actor,
                reason,
            )

    async def _end(self, ref: SessionRef, read: Session | None, until: float) -> Receipt:
        if read is None:
            return await self._end_unread(ref, until)
        index = self._index(read.user)
        return await self._ends.end(ref, read.expires_at, index, until, before=read.before)

    async def _end_unread(self, ref: SessionRef, until: float) -> Receipt:
        """End what an id names.

        Only what exists gets a tombstone: who makes up ids would fill the memory of all instances.
        """
        self._store.require_alive(ref)
        try:
            found, at = await self._store.find(ref, min(until, self._store.until(self._deadline)))
        except (*NO_ANSWER, SessionUnreadableError):
            return await self._ends.end(ref, self._ends.latest_end(), None, until)
        if found is None:
            raise gone()
        stored = found.stored
        before = tuple(dict.fromkeys((*stored.before, ref.member))) if ref != at else stored.before
        return await self._ends.end(
            at, stored.expires_at, self._index(stored.user), until, before=before
        )

    async def end_unchanged(self, session: Session, *, within: Duration = WRITE_LIMIT) -> Receipt:
        """End a session for good, if nobody has changed it since it was read.

        Raises:
            SessionConflictError: somebody has.
            SessionGoneError: there is no such session.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        with self._counted("end"):
            return await self._ends.end_unchanged(
                session, self._index(session.user), self._until(within)
            )

    async def of_user(self, user: str, *, within: Duration = WRITE_LIMIT) -> list[SessionInfo]:
        """The user's sessions that live, oldest first. A handle names one and opens nothing.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        self._life.require()
        until, home = self._until(within), self._home(user)
        return list((await self._ends.living(home, until)).values())

    async def end_user(
        self,
        user: str,
        *,
        keep: str | None = None,
        reason: str = "",
        actor: str = "",
        within: Duration = WRITE_LIMIT,
    ) -> EndedSessions:
        """End all sessions that a user has, rotated ones too; they have ended here at once.

        All others learn of it as of a revocation, also where Redis cannot be asked now. With
        `keep` Redis must name them: while it cannot be asked, the end is held by this instance
        alone (`outbox="memory"`), until it can, and one that begins now elsewhere may be missed.

        Args:
            user: whose.
            keep: the handle of one that lives on, for "log out everywhere else".
            reason: as for `end`.
            actor: as for `end`.
            within: seconds that it may take.

        Raises:
            InvalidInputError: the actor or the reason cannot be; nothing was ended.
            OutageError: with `keep`, Redis cannot be asked, and too many ends wait for it already.
        """
        with self._counted("end-user"):
            until, home = self._until(within), self._home(user)
            return await self._by_hand(
                f"sessions of user {digest_of(home.member)}",
                lambda: self._end_user(home, keep, until),
                str,
                actor,
                reason,
            )

    async def _end_user(self, home: SessionRef, keep: str | None, until: float) -> EndedSessions:
        spared = member_of_handle(keep) if keep is not None else None
        if spared is None:
            return EndedSessions(*await self._user_ends.end_all(home, until))
        return EndedSessions(*await self._user_ends.end_meant(home, until, spared=spared))

    async def end_all(
        self, *, reason: str = "", actor: str = "", within: Duration = WRITE_LIMIT
    ) -> Receipt:
        """End all sessions of everybody that exist now, also where Redis cannot be asked.

        Args:
            reason: as for `end`.
            actor: as for `end`.
            within: seconds that it may take.
        """
        with self._counted("end-all"):
            until = self._until(within)
            return await self._by_hand(
                "sessions of everybody",
                lambda: self._ends.end_all(all_sessions(self._digest_key), until),
                _level,
                actor,
                reason,
            )

    async def end_one_of(
        self,
        user: str,
        handle: str,
        *,
        reason: str = "",
        actor: str = "",
        within: Duration = WRITE_LIMIT,
    ) -> EndedSessions:
        """End the one of a user's sessions that a handle of the list names.

        It has ended here at once. While Redis cannot be asked whether it is this user's, that is
        held by this instance alone (`outbox="memory"`), until it can; the count is None then.
        `reason` and `actor` are as for `end`.

        Raises:
            InvalidInputError: the actor or the reason cannot be; nothing was ended.
            SessionGoneError: the user has none of that handle.
            OutageError: Redis cannot be asked, and too many ends wait for it already.
        """
        with self._counted("end"):
            until, home = self._until(within), self._home(user)
            member = member_of_handle(handle)
            if member is None:
                raise gone()
            return await self._by_hand(
                f"session {digest_of(member)}",
                lambda: self._end_one_of(home, member, until),
                str,
                actor,
                reason,
            )

    async def _end_one_of(self, home: SessionRef, member: bytes, until: float) -> EndedSessions:
        ended = EndedSessions(*await self._user_ends.end_meant(home, until, only=member))
        if ended.count == 0:
            raise gone()
        return ended

    async def _by_hand(
        self,
        target: str,
        work: Callable[[], Awaitable[T]],
        outcome: Callable[[T], str],
        actor: str,
        reason: str,
    ) -> T:
        act = Act(actor=actor, action="sessions end", target=target, reason=reason)
        return await self._audit.act(act, work, outcome)

    def _index(self, user: str | None) -> SessionRef | None:
        return None if user is None else self._home(user)

    def _home(self, user: str) -> SessionRef:
        validate_text(user, "a user", most=VALUE_LIMIT)
        return user_ref(self._digest_key, user)

    def _until(self, within: Duration) -> float:
        return self._store.until(in_seconds(within, "within"))

    def _counted(self, operation: str) -> _Counted:
        self._life.require()
        return _Counted(self._events, operation)


class _Counted:
    """A context that says how a change of a session has ended."""

    __slots__ = ("_events", "_operation")

    def __init__(self, events: Events, operation: str) -> None:
        self._events = events
        self._operation = operation

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self._events.emit(SessionWrite(self._operation, _outcome(error)))


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "ok"
        case SessionConflictError() | TooManySessionsError():
            return "conflict"
        case SessionGoneError():
            return "gone"
        case InvalidInputError():
            return "refused"
    return "failed"


def _level(receipt: Receipt) -> str:
    return receipt.level.word
