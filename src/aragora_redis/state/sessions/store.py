"""One session at a time in Redis: the revocations are asked before and after.

Where Redis gives no answer, a read may be given a copy of the last seconds.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from msgspec import Struct

from ...clock import Clock
from ...errors import (
    AragoraRedisError,
    DeadlineError,
    OutageError,
    OutcomeUnknownError,
    Ran,
    SessionConflictError,
    SessionDataError,
    SessionGoneError,
    SessionUnreadableError,
    UnexpectedReplyError,
)
from ...events import Events, SessionRefused, SessionServed
from ...operation import Operation, Runs
from ...sessions import operations
from ...sessions.ids import SessionRef, all_sessions, sessions_of, user_ref
from ...sessions.operations import SessionKeys
from ...sessions.stored import Answer, Moved, Session, Source, Stored
from ..revocations.revocations import Revocations
from .copies import Copies
from .held_ends import HeldEnds, began

T = TypeVar("T")

_log = logging.getLogger(__name__)

HOPS = 4
"""Rotations, while their traces last, which one call follows."""
TOLD_EVERY = 60.0
"""Seconds between lines about sessions that count as none, for each reason."""
ALIVE = 4096
"""Sessions of which it is remembered that they have not ended, until the next revocation."""
HOMES = 4096
"""Users whose digests are remembered: each call about a session of theirs needs them."""
NO_ANSWER = (OutageError, OutcomeUnknownError, UnexpectedReplyError)


class Found(Struct, frozen=True, gc=False):
    """A session, and who has given it."""

    stored: Stored
    source: Source


_ON_OUTAGE = "ARAGORA_SESSIONS_ON_OUTAGE"


class SessionStore:
    """Reads and changes sessions where they are stored. Deadlines are monotonic seconds.

    Args:
        executor: the way to Redis, or this process alone.
        revocations: of the fleet, among which ended sessions are.
        keys: where and how they are stored.
        held: ends that Redis could not be asked about.
        deny_on_outage: give no copy while Redis cannot be asked.
        source: who it is that is asked.
    """

    def __init__(
        self,
        executor: Runs,
        revocations: Revocations,
        *,
        clock: Clock,
        events: Events,
        keys: SessionKeys,
        held: HeldEnds,
        digest_key: bytes,
        deny_on_outage: bool,
        source: Source,
    ) -> None:
        self.keys = keys
        self._held = held
        self._home_of = lru_cache(HOMES)(lambda user: user_ref(digest_key, user))
        self._sessions_of = lru_cache(HOMES)(lambda home: sessions_of(digest_key, home))
        self._all_sessions = all_sessions(digest_key)
        self._executor = executor
        self._revocations = revocations
        self._clock = clock
        self._events = events
        self._deny_on_outage = deny_on_outage
        self._source = source
        self._copies = Copies(clock)
        self.newest = 0.0
        """The latest that a session was seen here to have begun, or to be used: Unix seconds."""
        self._refusals_told: dict[str, float] = {}
        self._alive: set[bytes] = set()
        """Sessions that no revocation had ended when so many changes as `_alive_as_of` had come."""
        self._alive_as_of = revocations.changes

    async def find(self, ref: SessionRef, until: float) -> tuple[Found | None, SessionRef]:
        """Look a session up, following the traces of rotations; with where it is.

        Raises:
            NotReadyError: it is not known yet which sessions have ended.
            SessionUnreadableError: there is one, but it cannot be opened.
            OutageError, OutcomeUnknownError: Redis cannot be asked, and there is no copy.
        """
        for _ in range(HOPS):
            found = await self._read(ref, until)
            if not isinstance(found, Moved):
                return found, ref
            ref = ref.moved(found.member)
        return None, ref

    async def change(
        self, ref: SessionRef, change: Callable[[SessionRef], Operation[Answer]], until: float
    ) -> tuple[Stored, SessionRef]:
        """Run a change where the session is by now; with where that was.

        Raises:
            SessionGoneError, SessionConflictError, SessionDataError: nothing was changed.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        for _ in range(HOPS):
            self.require_alive(ref)
            self._require_known(ref)
            answer = await self.run_change(ref, change(ref), until)
            if isinstance(answer, Stored):
                home = self.home_of(answer.user)
                if self.has_ended(ref, answer.created_at, home, answer.before):
                    raise gone()
                if self.keys.seal.on:
                    await self._reseal(ref, answer, until)
                return answer, ref
            if not isinstance(answer, Moved):
                raise _refused(answer)
            ref = ref.moved(answer.member)
        raise gone()

    async def run(self, operation: Operation[T], until: float) -> T:
        """Run an operation; raises as the executor does."""
        left = until - self._clock.monotonic()
        if left <= 0:
            raise DeadlineError("the deadline passed before Redis could be asked")
        try:
            return await self._executor.run(operation, within=left)
        except SessionUnreadableError as error:
            self.refused(error.reason)
            raise

    def refused(self, reason: str) -> None:
        """Tell of a stored session that counts as none; the log is told once a minute."""
        self._events.emit(SessionRefused(reason))
        now = self._clock.monotonic()
        if now - self._refusals_told.get(reason, float("-inf")) >= TOLD_EVERY:
            self._refusals_told[reason] = now
            _log.error("a stored session counts as none: %s", reason)

    def keep(self, ref: SessionRef, read: Stored | Moved) -> None:
        """Keep a copy of what was just read or written."""
        if isinstance(read, Stored):
            self.newest = max(self.newest, read.created_at, read.seen_at)
        self._copies.put(ref.member, read)

    def forget(self, ref: SessionRef) -> None:
        """Give no copy any more."""
        self._copies.drop(ref.member)

    def trace(self, ref: SessionRef) -> Moved | None:
        """Where a rotation has put a session, as far as that was seen here."""
        copy = self._copies.get(ref.member)
        return copy if isinstance(copy, Moved) else None

    def as_of(self, ref: SessionRef, version: int) -> Stored | None:
        """A session as it was in a version, if that was seen here within the last seconds.

        Not if an older key has sealed some of it: what is read anew has been sealed since.
        """
        copy = self._copies.get(ref.member)
        if not isinstance(copy, Stored) or copy.version != version:
            return None
        return None if copy.is_stale(self.keys.seal) else copy

    def is_latest(self, session: Session, within: float) -> bool:
        """Whether what was last seen of a session here, so many seconds ago at most, is this."""
        copy = self._copies.get(session.ref.member, within=within)
        return isinstance(copy, Stored) and copy.version == session.version

    def require_alive(self, ref: SessionRef) -> None:
        """Refuse what is known to have ended.

        Raises:
            SessionGoneError: it has.
        """
        if not self._is_known_alive(ref.member) and self._revocations.has_ended(ref.member):
            raise gone()

    def _require_known(self, ref: SessionRef) -> None:
        """Refuse to go on without knowing what has ended: it may be known in another Redis alone.

        Who ends a user's sessions removes them, too; of the end of all, only that knows.

        Raises:
            NotReadyError: it was never known here.
            StaleError: it is older than allowed, and the policy is to deny.
        """
        self._revocations.require_ready()
        if self._deny_on_outage:
            self._revocations.require_new((ref.member, self._all_sessions), _ON_OUTAGE)

    def require_living(self, session: Session) -> None:
        """Refuse a session that is known to have ended, by itself or with others.

        Raises:
            SessionGoneError: it has.
        """
        home = self.home_of(session.user)
        if self.has_ended(session.ref, session.created_at, home, session.before):
            raise gone()

    def has_ended(
        self,
        ref: SessionRef,
        created_at: float,
        home: SessionRef | None,
        before: tuple[bytes, ...] = (),
    ) -> bool:
        """Whether a session has ended, by itself, with all, or with all of its user.

        Args:
            ref: where it is.
            created_at: when it began, in Unix seconds.
            home: the index of its user.
            before: the digests that it had before rotations.
        """
        if not self._is_known_alive(ref.member):
            if self._revocations.has_ended(ref.member):
                return True
            cut_off = self.cut_off(home)
            if cut_off and began(created_at) <= cut_off:
                return True
            if len(self._alive) >= ALIVE:
                self._alive.clear()
            self._alive.add(ref.member)
        return home is not None and self._held.has_ended(home, ref.member, created_at, before)

    def _is_known_alive(self, member: bytes) -> bool:
        if self._alive_as_of != self._revocations.changes:
            self._alive.clear()
            self._alive_as_of = self._revocations.changes
        return member in self._alive

    def cut_off(self, home: SessionRef | None) -> int:
        """Until when all sessions that had begun have ended, in Unix milliseconds; 0 for never.

        Args:
            home: the index of a user, whose own may be later than that of everybody.
        """
        cut_off = self._revocations.score(self._all_sessions) or 0
        if home is None:
            return cut_off
        own = self._revocations.score(self._sessions_of(home)) or 0
        return max(cut_off, own)

    def beginning(self, home: SessionRef | None) -> int:
        """What a session that begins now must be younger than, in Unix milliseconds."""
        cut_off = self.cut_off(home)
        return cut_off if home is None else max(cut_off, self._held.cut_off(home))

    def home_of(self, user: str | None) -> SessionRef | None:
        """The index of a user's sessions."""
        return None if user is None else self._home_of(user)

    def until(self, within: float) -> float:
        """The deadline of a call that may take `within` seconds from now."""
        return self._clock.monotonic() + within

    def left(self, until: float) -> float:
        """Seconds until a deadline; 0 where it has passed."""
        return max(until - self._clock.monotonic(), 0.0)

    async def _read(self, ref: SessionRef, until: float) -> Found | Moved | None:
        if not self._is_known_alive(ref.member) and self._revocations.has_ended(ref.member):
            return None
        self._require_known(ref)
        found: Found | Moved | None
        copy = None if self._deny_on_outage else self._copies.get(ref.member)
        # Who has a copy does not wait for a link that is down.
        # What is sealed is opened each time: else a copy would hide that it was tampered with.
        held = None if self.keys.seal.on else self._copies.whole(ref.member)
        read = operations.read(self.keys, ref, held=held, at_once=copy is not None)
        try:
            found = self._taken_in(ref, await self.run(read, until), held)
        except SessionUnreadableError:
            self.forget(ref)
            raise
        except NO_ANSWER:
            if copy is None:
                raise
            found = copy if isinstance(copy, Moved) else Found(copy, "copy")
        # It may have been ended while the answer was under way.
        if isinstance(found, Found):
            stored = found.stored
            home = self.home_of(stored.user)
            if self.has_ended(ref, stored.created_at, home, stored.before):
                return None
            self._events.emit(SessionServed(found.source))
        elif self._revocations.has_ended(ref.member):
            return None
        return found

    def _taken_in(
        self, ref: SessionRef, answer: Answer, held: Stored | None
    ) -> Found | Moved | None:
        if not isinstance(answer, Stored | Moved):
            self.forget(ref)
            return None
        if held is not None and isinstance(answer, Stored) and answer.fields is held.fields:
            self._copies.confirm(ref.member, answer)
        else:
            self.keep(ref, answer)
        return answer if isinstance(answer, Moved) else Found(answer, self._source)

    async def run_change(self, ref: SessionRef, operation: Operation[T], until: float) -> T:
        """The answer; a copy stays good only where nothing can have changed.

        Raises as `run` does.
        """
        changed = True
        try:
            return await self.run(operation, until)
        except SessionUnreadableError as error:
            error.ran = Ran.YES  # what is stored after it is what cannot be read
            raise
        except AragoraRedisError as error:
            changed = error.ran is not Ran.NO
            raise
        finally:  # who is cancelled cannot know either
            if changed:
                self.forget(ref)

    async def _reseal(self, ref: SessionRef, stored: Stored, until: float) -> None:
        """Whoever writes also seals with the key of today what an older one has sealed."""
        reseal = operations.reseal(self.keys, ref, stored)
        if reseal is not None:
            with contextlib.suppress(*NO_ANSWER):
                await self.run(reseal, until)


def gone() -> SessionGoneError:
    """The error for what is not there."""
    return SessionGoneError("there is no such session", remedy="begin a new one")


def _refused(answer: Answer) -> AragoraRedisError:
    match answer:
        case "gone":
            return gone()
        case "conflict":
            return SessionConflictError("somebody else has changed the session since")
        case "large":
            return SessionDataError(
                "the session would hold more than it may", remedy="store less in it"
            )
    return UnexpectedReplyError("the answer does not fit a change of a session")
