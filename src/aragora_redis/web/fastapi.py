"""Dependencies and error answers for FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketState

from ..clock import SYSTEM_CLOCK
from ..errors import AragoraRedisError, TokenRefusedError
from ..jwt import VerifiedToken
from ..rate_limit.gcra import Decision
from ..state.shared import SharedState
from .bearer import refusal
from .headers import joined_fields, x_fields
from .problems import Problem, ProblemError, over_limit, problem_outside
from .starlette.asgi import closing, response_of
from .starlette.rate_limit import Subject, by_address
from .starlette.tokens import TokenCheck

_TOLD = "aragora_redis.limits"
"""Where in a request's scope the dependencies say what they have found."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def install(app: FastAPI, state: SharedState) -> None:
    """Make `state` known to the dependencies of this module, and answer its errors as problems.

    Call it before the application starts: it adds a middleware, which tells clients of the limits
    of their routes.

    A WebSocket that was accepted is closed: with 1013 where the client is to come again later, 1008
    where it may not, and 1011 otherwise.
    """
    app.state.aragora = state

    async def ours(asked: HTTPConnection, error: AragoraRedisError) -> Response | None:
        return await _answered(asked, problem_outside(error))

    async def refused(asked: HTTPConnection, error: ProblemError) -> Response | None:
        return await _answered(asked, error.problem)

    async def token(asked: HTTPConnection, error: TokenRefusedError) -> Response | None:
        return await _answered(asked, refusal(error))

    app.add_middleware(_TellingLimits)
    app.exception_handler(AragoraRedisError)(ours)
    app.exception_handler(TokenRefusedError)(token)
    app.exception_handler(ProblemError)(refused)


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


def state_of(request: Request) -> SharedState:
    """The state that `install` has made known; a dependency by itself."""
    state = getattr(request.app.state, "aragora", None)
    if not isinstance(state, SharedState):
        raise RuntimeError("call aragora_redis.web.fastapi.install(app, state) first")  # noqa: TRY004 - the application is wired wrongly, no argument is
    return state


class RateLimit:
    """A dependency that checks a request against a policy: 429 over its limit.

    Args:
        policy: its name in the policies file.
        subject: whom a request counts for; None lets it pass. By client address by default.
        cost: tokens that a request takes.
        x_headers: send `X-RateLimit-*` beside the fields of the IETF.
    """

    def __init__(
        self,
        policy: str,
        *,
        subject: Subject | None = None,
        cost: int = 1,
        x_headers: bool = False,
    ) -> None:
        self._policy = policy
        self._subject = subject or by_address()
        self._cost = cost
        self._x_headers = x_headers

    async def __call__(self, request: Request) -> Decision | None:
        """The decision; None where the request does not count."""
        state, subject = state_of(request), self._subject(request.scope)
        if subject is None:
            return None
        decision = await state.rate_limits.check(self._policy, subject, self._cost)
        if not decision.allowed:
            x_now = SYSTEM_CLOCK.wall() if self._x_headers else None
            raise ProblemError(over_limit(self._policy, decision, x_now=x_now))
        x_told = x_fields(decision, SYSTEM_CLOCK.wall()) if self._x_headers else {}
        request.scope[_TOLD].append(_Told(self._policy, decision, x_told))
        return decision


class _Told(NamedTuple):
    """What a dependency has found of a limit."""

    policy: str
    decision: Decision
    x_fields: Mapping[str, str]


class _TellingLimits:
    """Adds what the dependencies have found to the response, also to one that a route makes itself.

    FastAPI gives the fields of a dependency's `Response` to no other.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found: list[_Told] = []
        scope[_TOLD] = found

        async def send_with_fields(message: Message) -> None:
            if found and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for told in found:
                    headers.update(joined_fields(told.policy, told.decision, headers.get))
                for told in reversed(found):  # the last one comes first
                    for name, value in told.x_fields.items():
                        headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_fields)


class RequireToken(HTTPBearer):
    """A dependency that gives a Bearer token which is valid and not revoked.

    Scopes that `fastapi.Security` demands on the way are demanded of it too.

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
        self, request: Request, security: SecurityScopes
    ) -> VerifiedToken:
        """The token; 401 without a valid one, 403 where it does not allow enough, or 503."""
        state = state_of(request)
        if self._checks is None or self._checks[0] is not state:
            self._checks = (state, TokenCheck(state, scopes=self._scopes, realm=self._realm))
        sent = request.headers.getlist("authorization")
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
