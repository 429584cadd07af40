"""Bearer tokens of a service's own users: verified, then looked up among the revoked ones."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import AragoraRedisError, InvalidInputError, SettingsError
from ..state.shared import SharedState
from ..tokens.identity import token_id
from .asgi import answer, is_below
from .jwt import TokenVerifier
from .problems import Problem, ProblemError, problem_of

_SCHEME = "bearer"


class TokenCheck:
    """Judges the `Authorization` field of a request (RFC 6750).

    Args:
        state: where revocations are known, and whose settings hold the key (`ARAGORA_JWT_SECRET`).
        verifier: instead of one made from the settings.

    Raises:
        SettingsError: there is no key to verify tokens with.
    """

    def __init__(self, state: SharedState, verifier: TokenVerifier | None = None) -> None:
        jwt = state.settings.gateway.jwt
        if verifier is None and jwt.secret is None:
            raise SettingsError(
                "there is no key to verify tokens with", remedy="set ARAGORA_JWT_SECRET"
            )
        self._state = state
        self._verifier = verifier or TokenVerifier(jwt, leeway=state.settings.tokens.skew)

    def claims(self, authorization: str | None) -> dict[str, Any]:
        """The claims of a token that is valid and not revoked.

        Raises:
            ProblemError: 401 where it is not, 503 where this instance cannot say.
        """
        scheme, _, token = (authorization or "").strip().partition(" ")
        if scheme.lower() != _SCHEME or not token.strip():
            raise ProblemError(_challenge("no token was sent", "Bearer"))
        try:
            claims = self._verifier.verify(token.strip())
            named = {"jti": token_id(token.strip(), claims), "sub": claims.get("sub") or None}
        except InvalidInputError as error:
            raise ProblemError(_invalid(error.message)) from None
        try:
            verdict = self._state.tokens.verdict(claims | named)
        except InvalidInputError as error:
            raise ProblemError(_invalid(error.message)) from None
        except AragoraRedisError as error:
            raise ProblemError(problem_of(error)) from None
        if verdict is not None:
            raise ProblemError(_invalid("the token was revoked"))
        return claims


class TokenMiddleware:
    """Lets requests pass whose token is valid and not revoked.

    The claims are in `request.state.claims`.

    Args:
        state: see `TokenCheck`.
        exempt: paths, with all below them, that need no token.
        verifier: see `TokenCheck`.

    Raises:
        SettingsError: there is no key to verify tokens with.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: SharedState,
        exempt: Collection[str] = (),
        verifier: TokenVerifier | None = None,
    ) -> None:
        self._app = app
        self._check = TokenCheck(state, verifier)
        self._exempt = tuple(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on with its claims."""
        if scope["type"] in {"http", "websocket"} and not is_below(scope["path"], self._exempt):
            try:
                claims = self._check.claims(Headers(scope=scope).get("authorization"))
            except ProblemError as error:
                await answer(error.problem, scope, receive, send)
                return
            scope.setdefault("state", {})["claims"] = claims
        await self._app(scope, receive, send)


def _invalid(detail: str) -> Problem:
    return _challenge(detail, 'Bearer error="invalid_token"')


def _challenge(detail: str, challenge: str) -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        detail,
        "send Authorization: Bearer with a token that is valid",
        headers={"WWW-Authenticate": challenge},
    )
