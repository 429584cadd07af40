"""Sessions for threads; see `aragora_redis.state.sessions.sessions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..sessions.client import Client
from ..sessions.stored import Session, SessionInfo
from ..sessions.witness import Witness
from ..state.revocations.receipt import Receipt
from ..state.sessions.endable import WRITE_LIMIT, EndedSessions
from ..state.sessions.sessions import ALIAS_FOR
from ..state.shared import SharedState
from ..times import Duration
from .crossing import Crossing


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
        idle: Duration | None = None,
        absolute: Duration | None = None,
        client: Client | None = None,
        within: Duration = WRITE_LIMIT,
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
        within: Duration = WRITE_LIMIT,
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
        self, session: Session, *, grace: Duration = ALIAS_FOR, within: Duration = WRITE_LIMIT
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
        idle: Duration | None = None,
        absolute: Duration | None = None,
        client: Client | None = None,
        within: Duration = WRITE_LIMIT,
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
        within: Duration = WRITE_LIMIT,
    ) -> Receipt:
        """End a session for good."""
        return self._crossing.cross(
            lambda state: state.sessions.end(session, reason=reason, actor=actor, within=within),
            within,
        )

    def end_unchanged(self, session: Session, *, within: Duration = WRITE_LIMIT) -> Receipt:
        """End a session for good, if nobody has changed it since it was read."""
        return self._crossing.cross(
            lambda state: state.sessions.end_unchanged(session, within=within), within
        )

    def of_user(self, user: str, *, within: Duration = WRITE_LIMIT) -> list[SessionInfo]:
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
        within: Duration = WRITE_LIMIT,
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
        within: Duration = WRITE_LIMIT,
    ) -> EndedSessions:
        """End all sessions that a user has, but for the one with the handle `keep`."""
        return self._crossing.cross(
            lambda state: state.sessions.end_user(
                user, keep=keep, reason=reason, actor=actor, within=within
            ),
            within,
        )

    def end_all(
        self, *, reason: str = "", actor: str = "", within: Duration = WRITE_LIMIT
    ) -> Receipt:
        """End all sessions of everybody that exist now."""
        return self._crossing.cross(
            lambda state: state.sessions.end_all(reason=reason, actor=actor, within=within),
            within,
        )
