"""The middleware of sessions, which heeds what Litestar itself does with one."""

from __future__ import annotations

from collections.abc import Mapping

from litestar.types import Empty
from starlette.types import Scope

from ...errors import SessionDataError
from .. import starlette
from ..session import WebSession


class SessionMiddleware(starlette.SessionMiddleware):
    """That of `aragora_redis.web.starlette`, for `Litestar(middleware=[mounted(...)])`.

    `request.clear_session()` ends the session, and `request.set_session(...)` has it hold that
    mapping alone; both when the response starts. A WebSocket's are heeded where it is written.
    """

    async def _save(self, session: WebSession, scope: Scope) -> None:
        """Write what has changed, and what was put in the session's place.

        Raises:
            SessionDataError: that is no mapping.
            AragoraRedisError: as for `WebSession.save`, `load` and `end`.
        """
        put, scope["session"] = scope["session"], session
        if put is Empty:
            await session.end()
        elif isinstance(put, Mapping):
            if put is not session:
                await session.load()
                session.clear()
                session.update(put)
        else:
            raise SessionDataError(
                f"a session was set to a value of type {type(put).__name__}",
                remedy="give request.set_session a dict",
            )
        await super()._save(session, scope)
