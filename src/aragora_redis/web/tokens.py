"""Bearer tokens of a service's own users (RFC 6750): verified, and looked up among the revoked."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import AragoraRedisError, SettingsError, TokenRefusedError
from ..jwt import VerifiedToken
from ..state.shared import SharedState
from .asgi import answer, is_below
from .problems import Problem, ProblemError, problem_outside

_SCHEME = "bearer"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""`b64token` of RFC 6750 section 2.1."""
_PREFIX = "the token is not valid: "


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
        if not state.tokens.verification.has_key:
            raise SettingsError(
                "there is no key to verify tokens with",
                remedy="set ARAGORA_JWT_SECRET or ARAGORA_JWT_JWKS_URL",
            )
        self._state = state
        self._scopes = frozenset(scopes)
        self._realm = realm

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
        try:
            verified = await self._state.tokens.verify(self._sent(authorization))
        except TokenRefusedError as error:
            raise ProblemError(refusal(error, self._realm)) from None
        except AragoraRedisError as error:
            raise ProblemError(problem_outside(error)) from None
        wanted = self._scopes.union(scopes)
        if not wanted <= verified.scopes:
            raise ProblemError(_insufficient(self._realm, wanted))
        return verified

    def _sent(self, authorization: Sequence[str]) -> str:
        if len(authorization) > 1:
            raise ProblemError(
                _malformed(self._realm, "there is more than one Authorization field")
            )
        scheme, _, token = (authorization[0] if authorization else "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != _SCHEME or not token:
            # RFC 6750 section 3.1: who did not try to authenticate is told no error code.
            raise ProblemError(
                _challenge(HTTPStatus.UNAUTHORIZED, "no token was sent", realm=self._realm)
            )
        if _TOKEN.fullmatch(token) is None:
            raise ProblemError(_malformed(self._realm, "what follows Bearer cannot be a token"))
        return token


class TokenMiddleware:
    """Lets requests pass whose token is valid and not revoked.

    The token is in `request.state.token`, its claims in `request.state.claims`.

    Args:
        state, scopes, realm: see `TokenCheck`.
        exempt: paths, with all below them, that need no token; without `root_path`.

    Raises:
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
        self._exempt = tuple(exempt)

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


def refusal(error: TokenRefusedError, realm: str = "api") -> Problem:
    """How a request is answered whose token is refused."""
    return _challenge(
        HTTPStatus.UNAUTHORIZED,
        error.message,
        realm=realm,
        error="invalid_token",
        error_description=error.message.removeprefix(_PREFIX),
    )


def _malformed(realm: str, detail: str) -> Problem:
    return _challenge(HTTPStatus.BAD_REQUEST, detail, realm=realm, error="invalid_request")


def _insufficient(realm: str, wanted: Collection[str]) -> Problem:
    scope = " ".join(sorted(wanted))
    return _challenge(
        HTTPStatus.FORBIDDEN,
        "the token does not allow this",
        realm=realm,
        error="insufficient_scope",
        scope=scope,
    )


def _challenge(status: HTTPStatus, detail: str, **told: str) -> Problem:
    challenge = ", ".join(f'{name}="{text}"' for name, text in told.items())
    return Problem(
        status,
        detail,
        "send Authorization: Bearer with a token that is valid for this",
        headers={"WWW-Authenticate": f"Bearer {challenge}"},
    )
