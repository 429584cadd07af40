"""Tokens and sessions for threads; see the classes of the same names in `state`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..sessions.client import Client
from ..sessions.stored import Session, SessionInfo
from ..sessions.witness import Witness
from ..state.revocations.loading import LOAD_LIMIT
from ..state.revocations.receipt import Instant, Level, Loaded, Receipt
from ..state.revocations.revocations import REVOKE_LIMIT
from ..state.sessions.endable import WRITE_LIMIT, EndedSessions
from ..state.sessions.sessions import ALIAS_FOR
from ..state.shared import SharedState
from ..state.tokens.refresh import DEFAULT_LIFETIME, Rotation
from ..state.tokens.verification import VERIFY_LIMIT
from ..tokens.claims import Verdict
from ..tokens.note import Note
from ..tokens.told import RevocationList
from .crossing import Crossing
from .importing import Import

if TYPE_CHECKING:
    from ..jwt import VerifiedToken


class Tokens:
    """See `aragora_redis.state.tokens.tokens.Tokens`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def verify(self, token: str, *, within: float = VERIFY_LIMIT) -> VerifiedToken:
        """Verify a whole token, and look it up among the revoked ones.

        Does not leave this thread, unless a key has to be asked for.
        """
        known = self._crossing.here.tokens.verification.verify_at_once(token)
        if known is not None:
            return known
        return self._crossing.cross(lambda state: state.tokens.verify(token, within=within), within)

    def is_revoked(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these verified claims is revoked. Does not leave this thread."""
        return self._crossing.here.tokens.is_revoked(claims)

    def verdict(self, claims: Mapping[str, Any]) -> Verdict | None:
        """By which rule a token is revoked, or None. Does not leave this thread."""
        return self._crossing.here.tokens.verdict(claims)

    def stamp(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """What to sign for a login that was checked just now. Does not leave this thread."""
        return self._crossing.here.tokens.stamp(claims)

    def revoked_until(self, expires_at: float) -> float | None:
        """Until when a verified token is to be revoked; None where it is long over."""
        return self._crossing.here.tokens.revoked_until(expires_at)

    def revoke(
        self,
        jti: str,
        *,
        expires_at: Instant,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse one token from now on, until it expires."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke(
                jti,
                expires_at=expires_at,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def revoke_user(
        self,
        user: str,
        *,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens that were issued to a user at or before a moment."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke_user(
                user,
                issued_before=issued_before,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def revoke_family(
        self,
        family: str,
        *,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens of one login, and what was refreshed from it."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke_family(
                family,
                issued_before=issued_before,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def revoke_tenant(
        self,
        tenant: str,
        *,
        users: int,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens of all users of a tenant; `users` says how many those are."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke_tenant(
                tenant,
                users=users,
                issued_before=issued_before,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def pardon(
        self,
        *,
        jti: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
        family: str | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Undo the revocation of exactly one of these, as it stands now."""
        return self._crossing.cross(
            lambda state: state.tokens.pardon(
                jti=jti,
                user=user,
                tenant=tenant,
                family=family,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def count(self) -> int:
        """How many revocations are kept."""
        return self._crossing.cross(lambda state: state.tokens.count(), LOAD_LIMIT)

    def list(self, limit: int = 50, *, after: str | None = None) -> RevocationList:
        """A page of the revocations, those first that may be forgotten first."""
        return self._crossing.cross(lambda state: state.tokens.list(limit, after=after), LOAD_LIMIT)

    def export(self) -> Iterator[bytes]:
        """All revocations as JSON lines of digests, in pieces that belong together."""

        async def begin(state: SharedState) -> AsyncIterator[bytes]:
            return state.tokens.export()

        async def piece(_: SharedState) -> bytes | None:
            return await anext(pieces, None)

        pieces = self._crossing.cross(begin, LOAD_LIMIT)
        while (found := self._crossing.cross(piece, LOAD_LIMIT)) is not None:
            yield found

    def load(
        self,
        lines: Iterable[bytes],
        *,
        reason: str = "",
        actor: str = "",
        within: float = LOAD_LIMIT,
    ) -> Loaded:
        """Join what `export` wrote; `within` seconds for one step of 1 000 lines."""

        def load(state: SharedState, given: AsyncIterator[bytes]) -> Coroutine[Any, Any, Loaded]:
            return state.tokens.load(given, reason=reason, actor=actor, within=within)

        return Import(self._crossing, load, within).run(lines)

    def note(self, claims: Mapping[str, Any]) -> Note | None:
        """Who revoked a token and why; None where it is not revoked."""
        return self._crossing.cross(lambda state: state.tokens.note(claims), REVOKE_LIMIT)

    def reason(self, claims: Mapping[str, Any]) -> str | None:
        """The reason given when a token was revoked, where one was and Redis can be asked."""
        return self._crossing.cross(lambda state: state.tokens.reason(claims), REVOKE_LIMIT)


class RefreshTokens:
    """See `aragora_redis.state.tokens.refresh.RefreshTokens`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def begin(
        self,
        user: str,
        *,
        lifetime: float = DEFAULT_LIFETIME,
        in_all: float | None = None,
        **claims: Any,
    ) -> dict[str, Any]:
        """Claims of the first refresh token of a new family. Does not leave this thread."""
        return self._crossing.here.refresh_tokens.begin(
            user, lifetime=lifetime, in_all=in_all, **claims
        )

    def end(self, claims: Mapping[str, Any], *, reason: str = "") -> Receipt:
        """End the family of a refresh token, with all access tokens of it."""
        return self._crossing.cross(
            lambda state: state.refresh_tokens.end(claims, reason=reason), REVOKE_LIMIT
        )

    def is_used_up(self, claims: Mapping[str, Any]) -> bool:
        """Whether a refresh token is known to have been used. Does not leave this thread."""
        return self._crossing.here.refresh_tokens.is_used_up(claims)

    def rotate(
        self,
        token: str | Mapping[str, Any],
        *,
        nonce: str | None = None,
        lifetime: float | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Rotation:
        """Use a refresh token up, and get the claims of its successor to sign."""
        return self._crossing.cross(
            lambda state: state.refresh_tokens.rotate(
                token, nonce=nonce, lifetime=lifetime, within=within
            ),
            within,
        )


class Sessions:
    """See `aragora_redis.state.sessions.sessions.Sessions`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def get(self, session_id: str | None, *, seen: int = 0) -> Session | None:
        """The session of an id; None where it has ended, never was, or cannot be one."""
        return self._crossing.cross(
            lambda state: state.sessions.get(session_id, seen=seen), self._crossing.deadline
        )

    @property
    def witness(self) -> Witness:
        """What a client has seen of a session, in its cookie. Does not leave this thread."""
        return self._crossing.here.sessions.witness

    def of_cookie(self, cookie: str | None) -> Session | None:
        """The session of a cookie that `cookie` has written; None also for any other text."""
        return self._crossing.cross(
            lambda state: state.sessions.of_cookie(cookie), self._crossing.deadline
        )

    def cookie(self, session: Session, *, dated: bool = False) -> str:
        """What a client keeps of a session. Does not leave this thread."""
        return self._crossing.here.sessions.cookie(session, dated=dated)

    def is_current(self, session: Session) -> bool:
        """Whether a session that was read a moment ago has not ended, moved or changed since."""

        async def ask(state: SharedState) -> bool:
            return state.sessions.is_current(session)

        return self._crossing.cross(ask, self._crossing.deadline)

    def create(
        self,
        user: str | None = None,
        data: Mapping[str, Any] | None = None,
        *,
        idle: float | None = None,
        absolute: float | None = None,
        client: Client | None = None,
        within: float = WRITE_LIMIT,
    ) -> Session:
        """Begin a session, of a user or of nobody known yet."""
        return self._crossing.cross(
            lambda state: state.sessions.create(
                user, data, idle=idle, absolute=absolute, client=client, within=within
            ),
            within,
        )

    def update(
        self,
        session: Session | str,
        *,
        version: int | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the words of the other faces
        unset: Iterable[str] = (),
        exact: bool = False,
        client: Client | None = None,
        within: float = WRITE_LIMIT,
    ) -> Session:
        """Change fields of a session as it was read: all of them, or none."""
        return self._crossing.cross(
            lambda state: state.sessions.update(
                session,
                version=version,
                set=set,
                unset=unset,
                exact=exact,
                client=client,
                within=within,
            ),
            within,
        )

    def rotate(
        self, session: Session, *, grace: float = ALIAS_FOR, within: float = WRITE_LIMIT
    ) -> Session:
        """Give a session a new id; for `grace` seconds the old one leads to it."""
        return self._crossing.cross(
            lambda state: state.sessions.rotate(session, grace=grace, within=within), within
        )

    def authenticate(
        self,
        session: Session,
        user: str,
        *,
        idle: float | None = None,
        absolute: float | None = None,
        client: Client | None = None,
        within: float = WRITE_LIMIT,
    ) -> Session:
        """Make an anonymous session one of a user, under a new id, with the data it has."""
        return self._crossing.cross(
            lambda state: state.sessions.authenticate(
                session, user, idle=idle, absolute=absolute, client=client, within=within
            ),
            within,
        )

    def end(
        self,
        session: Session | str,
        *,
        reason: str = "",
        actor: str = "",
        within: float = WRITE_LIMIT,
    ) -> Receipt:
        """End a session for good."""
        return self._crossing.cross(
            lambda state: state.sessions.end(session, reason=reason, actor=actor, within=within),
            within,
        )

    def end_unchanged(self, session: Session, *, within: float = WRITE_LIMIT) -> Receipt:
        """End a session for good, if nobody has changed it since it was read."""
        return self._crossing.cross(
            lambda state: state.sessions.end_unchanged(session, within=within), within
        )

    def of_user(self, user: str, *, within: float = WRITE_LIMIT) -> list[SessionInfo]:
        """The user's sessions that live, oldest first."""
        return self._crossing.cross(
            lambda state: state.sessions.of_user(user, within=within), within
        )

    def end_one_of(
        self,
        user: str,
        handle: str,
        *,
        reason: str = "",
        actor: str = "",
        within: float = WRITE_LIMIT,
    ) -> EndedSessions:
        """End the one of a user's sessions that a handle of the list names."""
        return self._crossing.cross(
            lambda state: state.sessions.end_one_of(
                user, handle, reason=reason, actor=actor, within=within
            ),
            within,
        )

    def end_user(
        self,
        user: str,
        *,
        keep: str | None = None,
        reason: str = "",
        actor: str = "",
        within: float = WRITE_LIMIT,
    ) -> EndedSessions:
        """End all sessions that a user has, but for the one with the handle `keep`."""
        return self._crossing.cross(
            lambda state: state.sessions.end_user(
                user, keep=keep, reason=reason, actor=actor, within=within
            ),
            within,
        )

    def end_all(self, *, reason: str = "", actor: str = "", within: float = WRITE_LIMIT) -> Receipt:
        """End all sessions of everybody that exist now."""
        return self._crossing.cross(
            lambda state: state.sessions.end_all(reason=reason, actor=actor, within=within),
            within,
        )
