"""Dependencies and error answers for FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from ..extras import imported_with

with imported_with("fastapi", __name__):
    from fastapi import FastAPI, Response, WebSocket
    from fastapi.security import HTTPBearer, SecurityScopes
    from starlette.requests import HTTPConnection
    from starlette.websockets import WebSocketState

    from ..errors import AragoraRedisError
    from ..jwt import VerifiedToken
    from ..rate_limit.gcra import Decision
    from ..state.shared import SharedState
    from .answers import OURS, answer_to
    from .problems import Problem, ProblemError
    from .starlette.asgi import closing, response_of
    from .starlette.telling import RouteLimit, TellingLimits
    from .starlette.tokens import TokenCheck

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def install(app: FastAPI, state: SharedState) -> None:
    """Make `state` known to the dependencies of this module, and answer its errors as problems.

    Call it before the application starts: it adds a middleware, which tells clients of the limits
    of their routes.

    A WebSocket that was accepted is closed: with 1013 where the client is to come again later, 1008
    where it may not, and 1011 otherwise. One that was not is refused, with the problem where the
    server can send it.
    """
    app.state.aragora = state

    async def answered(
        asked: HTTPConnection, error: AragoraRedisError | ProblemError
    ) -> Response | None:
        return await _answered(asked, answer_to(error))

    app.add_middleware(TellingLimits)
    for kind in OURS:
        app.exception_handler(kind)(answered)


async def _answered(asked: HTTPConnection, problem: Problem) -> Response | None:
    """The answer to a request, or to a WebSocket that a server can refuse so; others are closed."""
    if not isinstance(asked, WebSocket):
        return response_of(problem)
    opening = asked.application_state is WebSocketState.CONNECTING
    if opening and "websocket.http.response" in (asked.scope.get("extensions") or {}):
        return response_of(problem)
    if WebSocketState.DISCONNECTED not in {asked.application_state, asked.client_state}:
        await asked.send(closing(problem))
    return None


def lifespan(state: SharedState, then: Lifespan | None = None) -> Lifespan:
    """Start `state` with the application and close it at its end; `then` is its own lifespan."""

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        async with state:
            if then is None:
                yield
                return
            async with then(app):
                yield

    return run


def state_of(connection: HTTPConnection) -> SharedState:
    """The state that `install` has made known; a dependency by itself, of WebSockets too."""
    state = getattr(connection.app.state, "aragora", None)
    if not isinstance(state, SharedState):
        raise RuntimeError("call aragora_redis.web.fastapi.install(app, state) first")  # noqa: TRY004 - the application is wired wrongly, no argument is
    return state


class RateLimit(RouteLimit):
    """A dependency that checks a request against a policy: 429 over its limit.

    A WebSocket is refused before it opens.

    Args:
        policy: its name in the policies file.
        subject: whom a request counts for; None lets it pass. By client address by default.
        cost: tokens that a request takes.
        x_headers: send `X-RateLimit-*` beside the fields of the IETF.
    """

    async def __call__(self, connection: HTTPConnection) -> Decision | None:
        """The decision; None where the request does not count."""
        return await self.check(state_of(connection), connection.scope)


class RequireToken(HTTPBearer):
    """A dependency that gives a Bearer token which is valid and not revoked.

    Scopes that `fastapi.Security` demands on the way are demanded of it too. A WebSocket is refused
    before it opens.

    Args:
        scopes: what the token must allow, all of it.
        realm: what clients are told that the token is for.
    """

    def __init__(self, *scopes: str, realm: str = "api") -> None:
        super().__init__(bearerFormat="JWT", scheme_name="Bearer", auto_error=False)
        self._scopes = scopes
        self._realm = realm
        self._checks: tuple[SharedState, TokenCheck] | None = None

    async def __call__(  # type: ignore[override]  # the token itself, and not its text
        self, connection: HTTPConnection, security: SecurityScopes
    ) -> VerifiedToken:
        """The token; 401 without a valid one, 403 where it does not allow enough, or 503."""
        state = state_of(connection)
        if self._checks is None or self._checks[0] is not state:
            self._checks = (state, TokenCheck(state, scopes=self._scopes, realm=self._realm))
        sent = connection.headers.getlist("authorization")
        return await self._checks[1].token(sent, security.scopes)


__all__ = [
    "Problem",
    "ProblemError",
    "RateLimit",
    "RequireToken",
    "install",
    "lifespan",
    "state_of",
]
