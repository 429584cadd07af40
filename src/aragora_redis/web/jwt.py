"""Tokens that are handed over whole are verified first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from ..errors import AragoraRedisError, InvalidInputError, SettingsError
from ..settings import JwtSettings

_WHY: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "its time has not come yet",
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


_FARTHEST = 1e12
"""Seconds from 1970 beyond which nothing is an instant; keeps sums of them exact."""


def unix_seconds(value: Any) -> float:
    """An instant that was given as a number.

    Raises:
        ValueError: it is no number, or not of this age of the world.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -_FARTHEST <= value <= _FARTHEST:  # the comparison refuses NaN too
        raise ValueError("it is not in Unix seconds")
    return float(value)


class TokenVerifier:
    """Verifies JWTs (RFC 7519) with the configured key; only listed algorithms are accepted.

    Args:
        settings: the key, and what else a token must carry.
        leeway: seconds by which the clocks of issuers may differ.

    Raises:
        SettingsError: the key is of no use to one of the algorithms.
    """

    def __init__(self, settings: JwtSettings, *, leeway: float) -> None:
        self._settings = settings
        self._leeway = leeway
        self._key = _prepared(settings)

    def verify(self, token: str, *, alive: bool = True) -> dict[str, Any]:
        """The claims of a token that the issuer signed; `iat` and `exp` are Unix seconds.

        Args:
            token: as it was issued.
            alive: whether it must be within its lifetime too, or may be over or not begun.

        Raises:
            InvalidInputError: it is not valid, or there is no key.
        """
        if self._key is None:
            raise InvalidInputError(
                "there is no key to verify tokens with",
                remedy="set ARAGORA_JWT_SECRET, or send the jti of a token that you verified",
            )
        audience, issuer = self._settings.audience, self._settings.issuer
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=list(self._settings.algorithms),
                audience=audience or None,
                issuer=issuer,
                leeway=self._leeway,
                options={
                    "verify_aud": bool(audience),
                    "verify_iss": issuer is not None,
                    "verify_exp": alive,
                    "verify_nbf": alive,
                    "verify_iat": alive,
                },
            )
            return claims | {k: unix_seconds(claims[k]) for k in ("iat", "exp") if k in claims}
        # What a hostile token makes a parser raise is not only what PyJWT names.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _not_valid(error) from None


def _not_valid(error: Exception) -> AragoraRedisError:
    why = next(_WHY[kind] for kind in type(error).__mro__ if kind in _WHY)
    return InvalidInputError(f"the token is not valid: {why}", remedy="send it as it was issued")


def _prepared(settings: JwtSettings) -> Any:
    """The key as the algorithms take it, so that it is not parsed for each token."""
    if settings.secret is None:
        return None
    key = None
    for name in settings.algorithms:
        try:
            key = jwt.get_algorithm_by_name(name).prepare_key(settings.secret.reveal())
        except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
            raise SettingsError(
                f"ARAGORA_JWT_SECRET is no key for {name}",
                remedy="give the key that fits ARAGORA_JWT_ALGORITHMS: a public key (PEM), "
                "or for HS algorithms the shared text",
            ) from None
    return key
