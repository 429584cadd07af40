"""`request.session`, with its type."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection

from ..session import WebSession


def session_of(connection: ASGIConnection[Any, Any, Any, Any]) -> WebSession:
    """The session of a request or WebSocket, with its type.

    Raises:
        RuntimeError: `SessionMiddleware` is not among the middlewares of this route.
    """
    session = connection.scope.get("session")
    if not isinstance(session, WebSession):
        raise RuntimeError("SessionMiddleware is not among the middlewares of this route")  # noqa: TRY004 - the application is wired wrongly, no argument is
    return session
