"""`request.session`, with its type."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection

from ..session import WebSession


def session_of(connection: ASGIConnection[Any, Any, Any, Any]) -> WebSession:
    """The session of a request or WebSocket, with its type.

    Raises:
        RuntimeError: `SessionMiddleware` is not among the middlewares of this route, or the request
            has cleared or set its session, which is heeded with the response.
    """
    session = connection.scope.get("session")
    if not isinstance(session, WebSession):
        raise RuntimeError(  # noqa: TRY004 - the application is wired wrongly, no argument is
            "the session was cleared or set: ask for it before that"
            if "session" in connection.scope
            else "SessionMiddleware is not among the middlewares of this route"
        )
    return session
