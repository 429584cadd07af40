"""Bearer tokens of a service's own users (RFC 6750): verified, and looked up among the revoked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ...jwt import VerifiedToken
from ...state.shared import SharedState
from ..bearer import Demand, require_key
from ..paths import listed_paths
from ..problems import ProblemError
from .asgi import answer, is_below


class TokenCheck:
    """Judges the `Authorization` field of a request.

    Args:
        state: where revocations are known, and whose settings hold the key.
        scopes: what a token must allow, all of it.
        realm: what clients are told that the token is for.

    Raises:
        SettingsError: there is no key to verify tokens with.
    """

    def __init__(
        self, state: SharedState, *, scopes: Collection[str] = (), realm: str = "api"
    ) -> None:
        require_key(state.tokens.verification.has_key)
        self._state = state
        self._demand = Demand(scopes, realm)

    async def token(
        self, authorization: Sequence[str], scopes: Collection[str] = ()
    ) -> VerifiedToken:
        """The token of a request, where it may be believed and is not revoked.

        Args:
            authorization: the values of all its `Authorization` fields.
            scopes: what it must allow beside those of the check.

        Raises:
            ProblemError: 401 where there is none, or it is refused; 400 where the request cannot be
                understood; 403 where it does not allow enough; 503 where this instance cannot say.
        """
        with self._demand.sent(authorization) as sent:
            verified = await self._state.tokens.verify(sent)
        return self._demand.met(verified, scopes)


class TokenMiddleware:
    """Lets requests pass whose token is valid and not revoked.

    The token is in `request.state.token`, its claims in `request.state.claims`.

    Args:
        state, scopes, realm: see `TokenCheck`.
        exempt: paths, with all below them, that need no token; without `root_path`.

    Raises:
        TypeError, InvalidInputError: `exempt` is no list of paths.
        SettingsError: there is no key to verify tokens with.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: SharedState,
        exempt: Collection[str] = (),
        scopes: Collection[str] = (),
        realm: str = "api",
    ) -> None:
        self._app = app
        self._check = TokenCheck(state, scopes=scopes, realm=realm)
        self._exempt = listed_paths(exempt, "exempt")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on with its token."""
        if scope["type"] in {"http", "websocket"} and not is_below(scope, self._exempt):
            try:
                token = await self._check.token(Headers(scope=scope).getlist("authorization"))
            except ProblemError as error:
                await answer(error.problem, scope, receive, send)
                return
            scope.setdefault("state", {}).update(token=token, claims=token.claims)
        await self._app(scope, receive, send)
