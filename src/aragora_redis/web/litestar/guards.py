"""Guards: of an application, a router, a controller, or a handler."""

from __future__ import annotations

from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from starlette.types import Scope

from ...state.shared import SharedState
from ..starlette.telling import RouteLimit
from ..starlette.tokens import TokenCheck
from .plugin import state_of


class RateLimit(RouteLimit):
    """A guard that checks requests against a policy: 429 over its limit.

    A WebSocket is closed before it opens. The subject gets the ASGI scope, where a guard
    `RequireToken` in front of it has put `user`.

    Args:
        policy: its name in the policies file.
        subject: whom a request counts for; None lets it pass. By client address by default.
        cost: tokens that a request takes.
        x_headers: send `X-RateLimit-*` beside the fields of the IETF.
    """

    async def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        """Called by Litestar."""
        await self.check(state_of(connection), cast("Scope", connection.scope))


class RequireToken:
    """A guard that demands a Bearer token which is valid and not revoked.

    It is `request.auth`, a `VerifiedToken`, and whose it is is `request.user`.

    Args:
        scopes: what the token must allow, all of it.
        realm: what clients are told that the token is for.
    """

    def __init__(self, *scopes: str, realm: str = "api") -> None:
        self._scopes = scopes
        self._realm = realm
        self._checks: tuple[SharedState, TokenCheck] | None = None

    async def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        """Called by Litestar."""
        state = state_of(connection)
        if self._checks is None or self._checks[0] is not state:
            self._checks = (state, TokenCheck(state, scopes=self._scopes, realm=self._realm))
        token = await self._checks[1].token(connection.headers.getall("authorization", []))
        connection.scope["auth"], connection.scope["user"] = token, token.user
