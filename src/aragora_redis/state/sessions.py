"""Sessions: opaque ids, data that is never half-written, and an end that lasts.

Invariant I6: an update applies to the version that was read, or not at all, and a session that was
ended never comes back. The first is the scripts' word (`scripts/session_update.lua`). The second is
that of the revocations: an end is a tombstone that joins them, every instance asks its own copy of
them before and after it asks Redis, and no update creates a session.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..clock import Clock
from ..errors import (
    InvalidInputError,
    OutageError,
    OutcomeUnknownError,
    SessionConflictError,
    SessionDataError,
    SessionGoneError,
    TooManySessionsError,
    UnexpectedReplyError,
)
from ..events import Events, SessionWrite
from ..names import validate_seconds, validate_text
from ..operation import Runs
from ..sessions import data as session_data
from ..sessions import operations
from ..sessions.data import Fields
from ..sessions.ids import SHARDS, SessionRef, new_id, parse_id, user_ref
from ..sessions.policy import OnFull, SessionPolicy
from ..sessions.stored import Full, Moved, Session, SessionInfo, Source, Stored
from ..tokens.entry import VALUE_LIMIT, ended_session
from .owed_ends import OwedEnds
from .receipt import Receipt
from .session_ends import SessionEnds
from .session_store import HOPS, NO_ANSWER, SessionStore, gone
from .tokens import Tokens

T = TypeVar("T")

WRITE_LIMIT = 1.0
"""Seconds that a change may take: it waits for a failover that is nearly over."""
ALIAS_FOR = 30.0
"""Seconds for which a rotated id leads on."""
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class EndedSessions:
    """How many sessions were ended, and how far that got."""

    count: int
    receipt: Receipt


class Sessions:
    """The sessions of the service. A call keeps one deadline, `within` seconds, for all it does.

    Args:
        executor: the way to Redis, or this process alone.
        tokens: the revocations, among which ended sessions are.
        server_now: the server's clock in Unix seconds.
        deny_on_outage: give no copy while Redis cannot be asked.
        deadline: seconds that a read may take.
        source: who it is that is asked.
    """

    def __init__(
        self,
        executor: Runs,
        tokens: Tokens,
        *,
        policy: SessionPolicy,
        clock: Clock,
        events: Events,
        server_now: Callable[[], float],
        prefix: str,
        digest_key: bytes,
        deny_on_outage: bool,
        deadline: float,
        source: Source,
    ) -> None:
        self._tokens = tokens
        self._policy = policy
        self._events = events
        self._digest_key = digest_key
        self._deadline = deadline
        self._source = source
        self._store = SessionStore(
            executor,
            tokens,
            clock=clock,
            events=events,
            server_now=server_now,
            prefix=prefix,
            deny_on_outage=deny_on_outage,
            source=source,
        )
        self._owed = OwedEnds(tokens, clock, server_now)
        self._ends = SessionEnds(
            self._store, tokens, self._owed, policy=policy, server_now=server_now
        )

    async def run(self) -> None:
        """Do in the background what is owed to sessions that have ended, until cancelled."""
        await self._ends.run()

    async def finish(self) -> None:
        """Do what must not be left undone when this instance ends."""
        await self._owed.end_all()

    # --- reading ------------------------------------------------------------------------

    async def get(self, session_id: str | None) -> Session | None:
        """The session of an id; None where it has ended, never was, or cannot be one.

        Reading counts as use. While Redis cannot be asked, a copy of the last seconds is given,
        unless the risk policy (`ARAGORA_SESSIONS_ON_OUTAGE`) is to deny.

        Raises:
            NotReadyError: it is not known yet which sessions have ended.
            OutageError, OutcomeUnknownError: Redis cannot be asked, and there is no copy.
        """
        ref = parse_id(self._digest_key, session_id)
        if ref is None:
            return None
        found, at = await self._store.find(ref, self._store.until(self._deadline))
        if found is None:
            return None
        named = session_id if at == ref else None
        return found.stored.session(at, named=named, source=found.source)

    # --- writing ------------------------------------------------------------------------

    async def create(
        self,
        user: str | None = None,
        data: Mapping[str, Any] | None = None,
        *,
        within: float = WRITE_LIMIT,
    ) -> Session:
        """Begin a session, of a user or of nobody known yet.

        Raises:
            SessionDataError: the data cannot be kept; nothing was made.
            TooManySessionsError: the user has as many as the policy allows, and it says `refuse`.
            OutageError: it did not run.
            OutcomeUnknownError: one may have been made, under an id that nobody knows.
        """
        with self._counted("create"):
            return await self._create(user, self._encoded(data or {}), self._store.until(within))

    async def update(
        self,
        session: Session | str,
        *,
        version: int | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the words of the HTTP face
        unset: Iterable[str] = (),
        exact: bool = False,
        within: float = WRITE_LIMIT,
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
            stored, at = await self._update(
                ref, read, fields, removed, exact=exact, until=self._store.until(within)
            )
            named = session_id if at == ref else None
            return stored.session(at, named=named, source=self._source)

    async def rotate(
        self, session: Session, *, grace: float = ALIAS_FOR, within: float = WRITE_LIMIT
    ) -> Session:
        """Give a session a new id. For `grace` seconds the old one leads to it, then it is ended.

        Raises:
            SessionGoneError: the session has ended.
            InvalidInputError: the grace is no span of time.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run; the old id leads on for `grace` seconds.
        """
        validate_seconds(grace, "a grace")
        with self._counted("rotate"):
            session_id, ref = self._new(session.ref.shard)
            index = self._index(session.user)
            stored, old = await self._store.change(
                session.ref,
                lambda at: operations.rotate(self._store.keys, at, ref, index=index, grace=grace),
                self._store.until(within),
            )
            self._store.keep(old, Moved(ref.member))
            self._store.keep(ref, stored)
            self._owed.end(ended_session(old.member, stored.expires_at), after=grace)
            for member in stored.before[: -HOPS + 1]:  # its trace is longer than anyone follows
                self._owed.end(ended_session(member, stored.expires_at), after=0)
            return stored.session(ref, named=session_id, source=self._source)

    async def authenticate(
        self, session: Session, user: str, *, within: float = WRITE_LIMIT
    ) -> Session:
        """Make an anonymous session one of a user, under a new id, with the data it has.

        The anonymous id is ended at once and leads nowhere: whoever planted it in the user's
        browser would be let in with it (session fixation).

        Raises:
            InvalidInputError: it is the session of a user already.
            SessionGoneError, SessionConflictError, TooManySessionsError: as for the others.
            OutageError, OutcomeUnknownError: the anonymous session may have ended; log in again.
        """
        if session.user is not None:
            raise InvalidInputError(
                "the session belongs to a user", remedy="end it, and create one for the new user"
            )
        with self._counted("authenticate"):
            until = self._store.until(within)
            self._store.require_alive(session.ref)
            made = await self._create(user, self._encoded(session.data), until)
            try:
                return await self._move_to(made, session, until)
            except BaseException:
                self._ends.disown(made, self._index(user))
                raise

    async def _move_to(self, made: Session, old: Session, until: float) -> Session:
        """End the anonymous session as it was copied; what has changed since is carried over.

        It is given to one user only: whoever comes second finds it gone.
        """
        for _ in range(_ATTEMPTS):
            try:
                await self._ends.end_unchanged(old, None, until)
            except SessionConflictError:
                found, at = await self._store.find(old.ref, until)
                if found is None:
                    raise gone() from None
                newer = found.stored.session(at, named=None, source=found.source)
                made = await self._carry_over(made, old.data, newer.data, until)
                old = newer
            else:
                return made
        raise SessionConflictError("the anonymous session does not stand still")

    async def _carry_over(
        self, made: Session, before: dict[str, Any], now: dict[str, Any], until: float
    ) -> Session:
        changed = {
            name: value
            for name, value in now.items()
            if name not in before or before[name] != value
        }
        removed = tuple(name for name in before if name not in now)
        stored, at = await self._update(
            made.ref, made.version, self._encoded(changed), removed, exact=False, until=until
        )
        return stored.session(at, named=made.id, source=self._source)

    async def _create(self, user: str | None, fields: Fields, until: float) -> Session:
        home = self._index(user)
        session_id, ref = self._new(secrets.randbelow(SHARDS) if home is None else home.shard)
        create = operations.create(
            self._store.keys,
            ref,
            self._policy,
            user=user,
            index=home,
            fields=fields,
            nonce=secrets.token_hex(8),
        )
        made_room = False
        for _ in range(_ATTEMPTS):
            try:
                answer = await self._store.run(create, until)
            except OutageError as error:
                if not made_room:
                    raise
                raise OutcomeUnknownError(
                    f"the user's oldest session was ended, and no new one begun: {error.message}",
                    remedy="log in again",
                ) from error
            if isinstance(answer, Stored):
                self._store.keep(ref, answer)
                return answer.session(ref, named=session_id, source=self._source)
            if not isinstance(answer, Full) or home is None:
                raise UnexpectedReplyError("the answer does not fit the beginning of a session")
            made_room |= await self._make_room(home, answer, until)
        raise TooManySessionsError("the user's sessions do not get fewer")

    async def _make_room(self, home: SessionRef, full: Full, until: float) -> bool:
        """Take out what has lapsed; if that is nothing, do what the policy says.

        Returns:
            Whether a session that lived was ended.
        """
        if await self._ends.take_out_lapsed(home, until):
            return False
        if self._policy.on_full is OnFull.REFUSE:
            raise TooManySessionsError(
                f"the user has {self._policy.max_per_user} sessions, as many as the policy allows"
            )
        index = await self._ends.index(home, until)
        oldest = {member: index[member] for member in full.oldest if member in index}
        await self._ends.end_members(home, oldest, until)
        return True

    async def _update(
        self,
        ref: SessionRef,
        version: int,
        fields: Fields,
        removed: tuple[str, ...],
        *,
        exact: bool,
        until: float,
    ) -> tuple[Stored, SessionRef]:
        nonce = secrets.token_hex(8)
        stored, at = await self._store.change(
            ref,
            lambda now_at: operations.update(
                self._store.keys,
                now_at,
                version=version,
                nonce=nonce,
                exact=exact,
                max_bytes=self._policy.max_bytes,
                fields=fields,
                removed=removed,
            ),
            until,
        )
        self._store.keep(at, stored)
        return stored, at

    # --- ending -------------------------------------------------------------------------

    async def end(self, session: Session | str, *, within: float = WRITE_LIMIT) -> Receipt:
        """End a session for good: here at once, and as far as the receipt's level says.

        The ids that it had before rotations end with it.

        Raises:
            SessionGoneError: there is no such session.
            SessionConflictError: it keeps being rotated; end it once more.
        """
        with self._counted("end"):
            until = self._store.until(within)
            if isinstance(session, Session):
                return await self._ends.end(
                    session.ref,
                    session.expires_at,
                    self._index(session.user),
                    until,
                    before=session.before,
                )
            ref = parse_id(self._digest_key, session)
            if ref is None:
                raise gone()
            return await self._end_unread(ref, until)

    async def _end_unread(self, ref: SessionRef, until: float) -> Receipt:
        """End what an id names.

        Only what exists gets a tombstone: who makes up ids would fill the memory of all instances.
        """
        self._store.require_alive(ref)
        try:
            found, at = await self._store.find(ref, min(until, self._store.until(self._deadline)))
        except NO_ANSWER:
            return await self._ends.end(ref, self._ends.latest_end(), None, until)
        if found is None:
            raise gone()
        stored = found.stored
        before = tuple(dict.fromkeys((*stored.before, ref.member))) if ref != at else stored.before
        return await self._ends.end(
            at, stored.expires_at, self._index(stored.user), until, before=before
        )

    async def end_unchanged(self, session: Session, *, within: float = WRITE_LIMIT) -> Receipt:
        """End a session for good, if nobody has changed it since it was read.

        Raises:
            SessionConflictError: somebody has.
            SessionGoneError: there is no such session.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        with self._counted("end"):
            return await self._ends.end_unchanged(
                session, self._index(session.user), self._store.until(within)
            )

    # --- by user ------------------------------------------------------------------------

    async def of_user(self, user: str, *, within: float = WRITE_LIMIT) -> list[SessionInfo]:
        """The user's sessions that live, oldest first. A handle names one and opens nothing.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        until, home = self._store.until(within), self._home(user)
        return [info for info, _ in (await self._ends.living(home, until)).values()]

    async def end_user(self, user: str, *, within: float = WRITE_LIMIT) -> EndedSessions:
        """End all sessions that a user has, rotated ones too. One that begins now may be missed.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked which those are.
        """
        with self._counted("end-user"):
            until, home = self._store.until(within), self._home(user)
            living = await self._ends.living(home, until)
            ends = {member: expires_at for member, (_, expires_at) in living.items()}
            return EndedSessions(len(ends), await self._ends.end_members(home, ends, until))

    async def end_one_of(self, user: str, handle: str, *, within: float = WRITE_LIMIT) -> Receipt:
        """End the one of a user's sessions that a handle of the list names.

        Raises:
            SessionGoneError: the user has none of that handle.
            OutageError, OutcomeUnknownError: Redis cannot be asked which those are.
        """
        with self._counted("end"):
            until, home = self._store.until(within), self._home(user)
            living = await self._ends.living(home, until)
            ends = {
                member: expires_at
                for member, (info, expires_at) in living.items()
                if info.handle == handle
            }
            if not ends:
                raise gone()
            return await self._ends.end_members(home, ends, until)

    # --- small parts --------------------------------------------------------------------

    def _new(self, shard: int) -> tuple[str, SessionRef]:
        session_id = new_id(shard)
        ref = parse_id(self._digest_key, session_id)
        if ref is None:
            raise UnexpectedReplyError("a new id cannot be read")
        return session_id, ref

    def _named(
        self, session: Session | str, version: int | None
    ) -> tuple[str | None, SessionRef, int]:
        """The id, the place and the version that a caller means."""
        if version is not None and (type(version) is not int or not 0 <= version < 2**53):
            raise InvalidInputError("a version is the number that was read")
        if isinstance(session, Session):
            return session.id, session.ref, session.version if version is None else version
        if version is None:
            raise InvalidInputError("an id alone does not say which version was read")
        ref = parse_id(self._digest_key, session)
        if ref is None:
            raise gone()
        return session, ref, version

    def _index(self, user: str | None) -> SessionRef | None:
        return None if user is None else self._home(user)

    def _home(self, user: str) -> SessionRef:
        validate_text(user, "a user", most=VALUE_LIMIT)
        return user_ref(self._digest_key, user)

    def _encoded(self, data: Mapping[str, Any]) -> Fields:
        fields = session_data.encode(data)
        if session_data.size_of(fields) > self._policy.max_bytes:
            raise self._too_large()
        return fields

    def _too_large(self) -> SessionDataError:
        return SessionDataError(
            f"a session holds at most {self._policy.max_bytes} bytes", remedy="store less in it"
        )

    @contextlib.contextmanager
    def _counted(self, operation: str) -> Iterator[None]:
        outcome = "failed"
        try:
            yield
            outcome = "ok"
        except (SessionConflictError, TooManySessionsError):
            outcome = "conflict"
            raise
        except SessionGoneError:
            outcome = "gone"
            raise
        except InvalidInputError:
            outcome = "refused"
            raise
        finally:
            self._events.emit(SessionWrite(operation, outcome))
