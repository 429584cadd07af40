"""Sessions: opaque ids, data that is never half-written, and an end that lasts.

Invariant I6: an update applies to the version that was read, or not at all, and a session that was
ended never comes back. The first is the scripts' word (`scripts/session_update.lua`). The second is
that of the revocations: an end is a tombstone that joins them, every instance asks its own copy of
them before and after it asks Redis, and no update creates a session.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from ...errors import (
    InvalidInputError,
    OutageError,
    Ran,
    SessionConflictError,
    SessionDataError,
    SessionGoneError,
    SessionUnreadableError,
)
from ...sessions import data as session_data
from ...sessions.client import UNKNOWN, Client, kept
from ...sessions.data import Fields
from ...sessions.ids import SessionRef, fresh_id, parse_id
from ...sessions.stored import Session
from ...sessions.witness import Witness
from ...times import Duration, in_seconds
from .births import SessionBirths
from .changes import SessionChanges
from .endable import WRITE_LIMIT, EndableSessions
from .store import HOPS, Found, gone

ALIAS_FOR = 30.0
"""Seconds for which a rotated id leads on."""
CURRENT_FOR = 1.0
"""Seconds for which what was read of a session is taken to be what is stored."""


class Sessions(EndableSessions):
    """The sessions of the service. A call keeps one deadline, `within` seconds, for all it does."""

    @cached_property
    def witness(self) -> Witness:
        """What a client has seen of a session, in its cookie."""
        return Witness(self._digest_key)

    @cached_property
    def _changes(self) -> SessionChanges:
        return SessionChanges(self._store, self._owed, lambda: self._policy)

    @cached_property
    def _births(self) -> SessionBirths:
        return SessionBirths(
            self._store,
            self._ends,
            self._changes,
            policy=lambda: self._policy,
            digest_key=self._digest_key,
            source=self._source,
        )

    # --- reading ------------------------------------------------------------------------

    @property
    def read_limit(self) -> float:
        """Seconds that a read may take."""
        return self._deadline

    async def get(self, session_id: str | None, *, seen: int = 0) -> Session | None:
        """The session of an id; None where it has ended, never was, or cannot be one or be read.

        Reading counts as use. While Redis cannot be asked, a copy of the last seconds is given,
        unless the risk policy (`ARAGORA_SESSIONS_ON_OUTAGE`) is to deny.

        Args:
            session_id: what the client presents, which may be anything.
            seen: the version that the client has seen, see `sessions.witness`. A store that holds
                an older one has lost what was acknowledged: the session is ended, and None.

        Raises:
            NotReadyError: it is not known yet which sessions have ended.
            OutageError, OutcomeUnknownError: Redis cannot be asked, and there is no copy, or none
                as new as what the client has seen.
        """
        self._life.require()
        ref = parse_id(self._digest_key, session_id)
        if ref is None:
            return None
        until = self._store.until(self._deadline)
        for _ in range(HOPS):
            try:
                found, at = await self._store.find(ref, until)
                if found is None:
                    return None
                session = self._opened(found, at, named=session_id if at == ref else None)
            except SessionUnreadableError:
                return None
            if session.version >= seen:
                return session
            try:
                await self._roll_back(session, until)
            except SessionConflictError:
                continue  # it is another one by now
            return None
        raise OutageError("the session keeps changing, and is older than what its client has seen")

    def _opened(
        self, found: Found, at: SessionRef, *, named: str | None, ran: Ran = Ran.NO
    ) -> Session:
        try:
            return found.stored.session(at, named=named, source=found.source)
        except SessionUnreadableError as error:
            error.ran = ran
            self._store.refused(error.reason)
            raise

    async def _roll_back(self, session: Session, until: float) -> None:
        """End what is older than its client has seen, so that no other client goes on with it.

        Raises SessionConflictError where it is not as it was read any more.

        A read is not probed first, so it may be of a deposed primary that is behind: only one that
        may be written to takes the session out, and nothing is buried before it has.
        """
        if session.source == "copy":
            raise OutageError("the copy of the session is older than what its client has seen")
        with contextlib.suppress(SessionGoneError):
            await self._ends.end_unchanged(session, self._index(session.user), until)
        self._store.refused("rolled-back")

    async def of_cookie(self, cookie: str | None) -> Session | None:
        """The session of a cookie that `cookie` has written; None also for any other text.

        Raises as `get` does.
        """
        self._life.require()
        presented = self.witness.read(cookie)
        if presented is None:
            return None
        return await self.get(presented.session_id, seen=presented.seen)

    def cookie(self, session: Session, *, dated: bool = False) -> str:
        """What a client keeps of a session: its id, and which version of it was seen, signed.

        Args:
            session: as the client is to have seen it.
            dated: say when it was sent, for a cookie that ends by itself.

        Raises:
            InvalidInputError: the session was reached by an id that it has no more.
        """
        if session.id is None:
            raise InvalidInputError(
                "the session was reached by an earlier id, so its own is not known",
                remedy="leave the client the cookie that it has",
            )
        sent_at = self._server_now() if dated else None
        return self.witness.cookie(session.id, session.version, sent_at)

    def is_current(self, session: Session) -> bool:
        """Whether a session that was read a moment ago has not ended, moved or changed since.

        As far as known here, without a round trip. Other instances write too, so what was read
        more than a second ago is not vouched for.
        """
        home = self._store.home_of(session.user)
        ended = self._store.has_ended(session.ref, session.created_at, home, session.before)
        return not ended and self._store.is_latest(session, CURRENT_FOR)

    def now(self) -> float:
        """The server's time in Unix seconds, in which a session's instants are told."""
        return self._server_now()

    def remembered(self, client: Client) -> Client:
        """What would be stored of a client."""
        return kept(client, self._policy.remember) or UNKNOWN

    # --- writing ------------------------------------------------------------------------

    async def create(
        self,
        user: str | None = None,
        data: Mapping[str, Any] | None = None,
        *,
        idle: Duration | None = None,
        absolute: Duration | None = None,
        client: Client | None = None,
        within: Duration = WRITE_LIMIT,
    ) -> Session:
        """Begin a session, of a user or of nobody known yet.

        Args:
            user: whose it is.
            data: what it holds.
            idle: seconds without use after which it ends, from 1 to `[sessions] longest`; as the
                policy says by default.
            absolute: seconds after which it ends in any case, likewise.
            client: where it is used from, which the user is shown; see `[sessions] remember`.
            within: seconds that it may take.

        Raises:
            InvalidInputError: it asks for a life that it may not have; nothing was made.
            SessionDataError: the data cannot be kept; nothing was made.
            TooManySessionsError: the user has as many as the policy allows, and it says `refuse`.
            OutageError: it did not run.
            OutcomeUnknownError: one may have been made, under an id that nobody knows.
        """
        with self._counted("create"):
            fields, lasting = self._encoded(data or {}), self._policy.lasting(idle, absolute)
            return await self._births.create(
                user,
                self._index(user),
                fields,
                self._until(within),
                lasting=lasting,
                client=client,
            )

    async def update(
        self,
        session: Session | str,
        *,
        version: int | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the words of the HTTP face
        unset: Iterable[str] = (),
        exact: bool = False,
        client: Client | None = None,
        within: Duration = WRITE_LIMIT,
    ) -> Session:
        """Change fields of a session as it was read: all of them, or none.

        Others may have changed other fields meanwhile: that stays, and is in what is returned. With
        `exact` any change since the session was read is a conflict. A version can be built upon
        for a minute; after that it must be the newest.

        Args:
            session: as it was read, or its id together with `version`.
            version: the version that was read; the session's own by default.
            set: new values of fields.
            unset: names of fields to remove.
            exact: whether a change of another field is a conflict too.
            client: where it is used from now; None leaves that.
            within: seconds that it may take.

        Raises:
            SessionDataError: the data cannot be kept.
            SessionConflictError: a field was changed by somebody else since it was read.
            SessionGoneError: the session has ended.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run; read the session again.
        """
        with self._counted("update"):
            fields, removed = self._encoded(set or {}), session_data.names(unset)
            if both := [name for name in removed if name in fields]:
                raise SessionDataError(f"the field {both[0][:40]!r} is both set and removed")
            session_id, ref, read = self._named(session, version)
            stored, at = await self._changes.update(
                ref,
                read,
                fields,
                removed,
                exact=exact,
                until=self._until(within),
                client=client,
            )
            named = session_id if at == ref else None
            return self._opened(Found(stored, self._source), at, named=named, ran=Ran.YES)

    async def rotate(
        self, session: Session, *, grace: Duration = ALIAS_FOR, within: Duration = WRITE_LIMIT
    ) -> Session:
        """Give a session a new id. For `grace` seconds the old one leads to it, then it is ended.

        Raises:
            SessionGoneError: the session has ended.
            InvalidInputError: the grace is no span of time.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run; the old id leads on for `grace` seconds.
        """
        with self._counted("rotate"):
            grace = in_seconds(grace, "grace")
            self._store.require_living(session)
            session_id, ref = fresh_id(self._digest_key, session.ref.shard)
            stored = await self._changes.rotate(
                session.ref, ref, self._index(session.user), grace, self._until(within)
            )
            return self._opened(Found(stored, self._source), ref, named=session_id, ran=Ran.YES)

    async def authenticate(
        self,
        session: Session,
        user: str,
        *,
        idle: Duration | None = None,
        absolute: Duration | None = None,
        client: Client | None = None,
        within: Duration = WRITE_LIMIT,
    ) -> Session:
        """Make an anonymous session one of a user, under a new id, with the data it has.

        The anonymous id is ended at once and leads nowhere: whoever planted it in the user's
        browser would be let in with it (session fixation). Where `idle` or `absolute` ask for
        another life, as for `create`, it may be the user's own, which begins anew with that.

        Raises:
            InvalidInputError: it is the session of a user already, or may not live so.
            SessionGoneError, SessionConflictError, TooManySessionsError: as for the others.
            OutageError, OutcomeUnknownError: the anonymous session may have ended; log in again.
        """
        anew = session.user == user and not (idle is None and absolute is None)
        if session.user is not None and not anew:
            raise InvalidInputError(
                "the session belongs to a user", remedy="end it, and create one for the new user"
            )
        with self._counted("authenticate"):
            return await self._births.authenticate(
                session,
                user,
                self._home(user),
                self._until(within),
                lasting=self._policy.lasting(idle, absolute),
                client=client,
            )

    # --- small parts --------------------------------------------------------------------

    def _named(
        self, session: Session | str, version: int | None
    ) -> tuple[str | None, SessionRef, int]:
        """The id, the place and the version that a caller means."""
        if version is not None and (type(version) is not int or not 0 <= version < 2**53):
            raise InvalidInputError("a version is the number that was read")
        if isinstance(session, Session):
            self._store.require_living(session)
            return session.id, session.ref, session.version if version is None else version
        if version is None:
            raise InvalidInputError(
                "an id alone does not say which version was read",
                remedy="give the session that was read, or its id and its version",
            )
        ref = parse_id(self._digest_key, session)
        if ref is None:
            raise gone()
        return session, ref, version

    def _encoded(self, data: Mapping[str, Any]) -> Fields:
        return session_data.encode(data, most_bytes=self._policy.max_bytes)
