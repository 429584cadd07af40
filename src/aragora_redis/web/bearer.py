"""Bearer tokens as requests send them, and how one is answered that cannot be believed. Pure.

Source: RFC 6750.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from ..errors import AragoraRedisError, SettingsError, TokenRefusedError
from ..jwt import VerifiedToken
from .problems import Problem, ProblemError, problem_outside

_SCHEME = "bearer"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""`b64token` of RFC 6750 section 2.1."""
_PREFIX = "the token is not valid: "


class Demand:
    """What is demanded of the token of a request, and how one is answered that does not meet it.

    Args:
        scopes: what it must allow, all of it.
        realm: what clients are told that the token is for.
    """

    def __init__(self, scopes: Collection[str] = (), realm: str = "api") -> None:
        self._scopes = frozenset(scopes)
        self._realm = realm

    @contextmanager
    def sent(self, authorization: Sequence[str]) -> Iterator[str]:
        """A context in which the token that was sent is verified; its text.

        Args:
            authorization: the values of all `Authorization` fields of the request.

        Raises:
            ProblemError: 401 where there is none, or it is refused; 400 where the request cannot be
                understood; 503 where this instance cannot say.
        """
        try:
            yield sent_token(authorization, self._realm)
        except TokenRefusedError as error:
            raise ProblemError(refusal(error, self._realm)) from None
        except AragoraRedisError as error:
            raise ProblemError(problem_outside(error)) from None

    def met(self, verified: VerifiedToken, scopes: Collection[str] = ()) -> VerifiedToken:
        """The token, if it allows enough: what is demanded, and `scopes`.

        Raises:
            ProblemError: 403.
        """
        wanted = self._scopes.union(scopes)
        if not wanted <= verified.scopes:
            raise ProblemError(insufficient(self._realm, wanted))
        return verified


def require_key(has_key: bool) -> None:  # noqa: FBT001 - it says what it is
    """Refuse to judge tokens where nothing can verify them.

    Raises:
        SettingsError: there is no key.
    """
    if not has_key:
        raise SettingsError(
            "there is no key to verify tokens with",
            remedy="set ARAGORA_JWT_SECRET or ARAGORA_JWT_JWKS_URL",
        )


def sent_token(authorization: Sequence[str], realm: str = "api") -> str:
    """The text of the token that a request was sent with.

    Args:
        authorization: the values of all its `Authorization` fields.
        realm: what clients are told that the token is for.

    Raises:
        ProblemError: 401 where there is none, 400 where what was sent cannot be one.
    """
    if len(authorization) > 1:
        raise ProblemError(_malformed(realm, "there is more than one Authorization field"))
    scheme, _, token = (authorization[0] if authorization else "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != _SCHEME or not token:
        # RFC 6750 section 3.1: who did not try to authenticate is told no error code.
        raise ProblemError(_challenge(HTTPStatus.UNAUTHORIZED, "no token was sent", realm=realm))
    if _TOKEN.fullmatch(token) is None:
        raise ProblemError(_malformed(realm, "what follows Bearer cannot be a token"))
    return token


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


def insufficient(realm: str, wanted: Collection[str]) -> Problem:
    """How a request is answered whose token does not allow enough."""
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
