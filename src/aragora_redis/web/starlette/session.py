"""`request.session`, with its type."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from ..session import WebSession


def session_of(connection: HTTPConnection) -> WebSession:
    """The session of a request or WebSocket, with its type; a FastAPI dependency by itself.

    Raises:
        RuntimeError: no `SessionMiddleware` is installed for this path.
    """
    session = connection.scope.get("session")
    if not isinstance(session, WebSession):
        raise RuntimeError("SessionMiddleware is not installed for this path")  # noqa: TRY004 - the application is wired wrongly, no argument is
    return session
