"""Read one token with keys that are given. Pure, but for PyJWT."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jwt

from ..errors import TokenExpiredError, TokenInvalidError
from ..settings import JwtSettings
from ..tokens.identity import part_of, token_id
from .verified import VerifiedToken

TOKEN_LIMIT = 16_384
"""Characters of a token that is looked at."""
_WHY: Mapping[type[Exception], str] = {
    jwt.InvalidSignatureError: "its signature does not match",
    jwt.InvalidAlgorithmError: "it is unsigned, or its algorithm is not accepted here",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is of another issuer",
    jwt.MissingRequiredClaimError: "it lacks a claim that is demanded here",
    jwt.exceptions.InvalidSubjectError: "its subject is not a text",
    jwt.exceptions.InvalidJTIError: "its jti is not a text",
    jwt.InvalidKeyError: "its algorithm does not fit the key",
    Exception: "it cannot be read",
}
_PARSING = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What a hostile token makes a parser raise is not only what PyJWT names."""
_FARTHEST = 1e12
"""Seconds from 1970 beyond which nothing is an instant; keeps sums of them exact."""
_ROUNDED = 1.0
"""Seconds that an `iat` may lie further ahead: a cut-off's `not_before` is rounded up."""
_ELSEWHERE = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}
"""Times are compared with our own clock, see `_alive`."""


def unix_seconds(value: Any) -> float:
    """An instant that was given as a number.

    Raises:
        ValueError: it is no number, or not of this age of the world.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -_FARTHEST <= value <= _FARTHEST:  # the comparison refuses NaN too
        raise ValueError("it is not in Unix seconds")
    return float(value)


class Header(NamedTuple):
    """What a token says of itself before anything of it is believed."""

    algorithm: str
    kid: str | None


def header_of(token: Any, algorithms: Sequence[str]) -> Header:
    """How a token claims to be signed.

    Raises:
        TokenInvalidError: it is none, or asks for what is not accepted here.
    """
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_LIMIT:
        raise invalid("it cannot be read")
    try:
        # PyJWT reads it once more, and takes three times as long as this.
        header = json.loads(part_of(token.partition(".")[0]))
    except _PARSING as error:
        raise _refusal(error) from None
    if not isinstance(header, dict):
        raise invalid("it cannot be read")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _refusal(jwt.InvalidAlgorithmError())
    # RFC 7515 section 4.1.11: who does not understand an extension that is critical refuses it.
    if "crit" in header or "b64" in header or not isinstance(kid, str | None):
        raise invalid("it cannot be read")
    return Header(algorithm, kid)


def issuer_said(token: str) -> Any:
    """The `iss` that a token claims, not verified: it only chooses whose keys are tried."""
    try:
        return jwt.decode(token, options={"verify_signature": False}).get("iss")
    except _PARSING as error:
        raise _refusal(error) from None


def read(
    token: str,
    header: Header,
    keys: Sequence[Any],
    settings: JwtSettings,
    *,
    leeway: float,
    now: float,
    alive: bool,
) -> VerifiedToken:
    """Verify a token with the first of some keys that fits.

    At `now` (Unix seconds) it must be within its lifetime, give or take `leeway` seconds, and have
    the claims that are demanded; neither of it where it need not be `alive`.

    Raises:
        TokenInvalidError, TokenExpiredError: it is not to be believed.
    """
    try:
        claims = _decode(token, header, keys, settings, alive=alive)
        claims |= {name: unix_seconds(claims[name]) for name in ("iat", "exp") if name in claims}
        if alive:
            _alive(claims, leeway, now)
        return VerifiedToken(claims, token_id(token, claims))
    except _PARSING as error:
        raise _refusal(error) from None


def _decode(
    token: str, header: Header, keys: Sequence[Any], settings: JwtSettings, *, alive: bool
) -> dict[str, Any]:
    options: Any = _ELSEWHERE | {
        "verify_aud": bool(settings.audience),
        "verify_iss": settings.issuer is not None,
        "require": list(settings.required) if alive else [],
    }
    failed: Exception = jwt.InvalidSignatureError()
    for key in keys:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[header.algorithm],
                audience=settings.audience or None,
                issuer=settings.issuer,
                options=options,
            )
        except jwt.InvalidSignatureError as error:
            failed = error
    raise failed


def _alive(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    latest = {"nbf": now + leeway, "iat": now + leeway + _ROUNDED}
    if any(unix_seconds(claims.get(name, now)) > until for name, until in latest.items()):
        raise invalid("its time has not come yet")
    if "exp" in claims and claims["exp"] <= now - leeway:
        raise TokenExpiredError("the token is not valid: it has expired")


def invalid(why: str) -> TokenInvalidError:
    """A refusal for a reason."""
    return TokenInvalidError(f"the token is not valid: {why}")


def _refusal(error: Exception) -> TokenInvalidError:
    return invalid(next(_WHY[kind] for kind in type(error).__mro__ if kind in _WHY))
