"""The middleware of sessions, which heeds what Litestar itself does with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from litestar.types import Empty
from litestar.utils.scope.state import ScopeState
from starlette.types import Receive, Scope, Send

from ...errors import SessionDataError
from .. import starlette
from ..session import WebSession


class SessionMiddleware(starlette.SessionMiddleware):
    """That of `aragora_redis.web.starlette`, for `Litestar(middleware=[mounted(...)])`.

    `request.clear_session()` ends the session, and `request.set_session(...)` has it hold that
    mapping alone; both when the response starts. What is set after it was cleared begins another,
    which is nobody's. A WebSocket's are heeded where it is written.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its session."""
        if scope["type"] != "lifespan":
            _connection(scope).session_id = None
        await super().__call__(scope, receive, send)

    async def _save(self, session: WebSession, scope: Scope) -> None:
        """Write what has changed, and what was put in the session's place.

        Raises:
            SessionDataError: that is no mapping.
            AragoraRedisError: as for `WebSession.save`, `load` and `end`.
        """
        put, scope["session"] = scope["session"], session
        connection = _connection(scope)
        cleared, connection.session_id = connection.session_id is Empty, None
        if put is not Empty and not isinstance(put, Mapping):
            raise SessionDataError(
                f"a session was set to a value of type {type(put).__name__}",
                remedy="give request.set_session a dict",
            )
        if cleared and put is session:
            await session.load()
            put = dict(session)
        if cleared or put is Empty:
            await session.end()
        if put is not Empty and put is not session:
            await session.load()
            session.clear()
            session.update(put)
        await super()._save(session, scope)


def _connection(scope: Scope) -> ScopeState:
    """What Litestar keeps of a request.

    Its `session_id` is `Empty` once the session was cleared, also where another was set since. That
    is what Litestar's own sessions go by.
    """
    return ScopeState.from_scope(cast("Any", scope))
