"""Whole tokens: verified, then looked up among the revoked ones, as one question.

Who cannot say raises an `OutageError`, and never one that refuses the token: an instance that lacks
a key or has not loaded the revocations must not log anybody out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...clock import Clock
from ...errors import (
    AragoraRedisError,
    InvalidInputError,
    OutageError,
    SettingsError,
    TokenExpiredError,
    TokenInvalidError,
    TokenRevokedError,
)
from ...events import Events, TokenJudged
from ...extras import installing
from ...settings import JwtSettings
from ...tokens.claims import Verdict
from ...tokens.entry import DAY
from ...tokens.refresh import GENERATION

if TYPE_CHECKING:
    from ...jwt import VerifiedToken, Verifier

_log = logging.getLogger(__name__)

Judge = Callable[[Mapping[str, Any]], Verdict | None]
VERIFY_LIMIT = 1.0
"""Seconds that `verify` waits for a key that has to be fetched."""
_OUTCOMES: Mapping[type[AragoraRedisError], str] = {
    TokenExpiredError: "expired",
    TokenRevokedError: "revoked",
    OutageError: "unknown",
    AragoraRedisError: "invalid",
}


class TokenVerification:
    """Verifies tokens where a key is set.

    Args:
        verdict: by which rule verified claims are revoked, or None.
        kept: seconds for which a cut-off is kept: tokens that live longer outlive it.

    Raises:
        SettingsError: a key is of no use.
    """

    def __init__(
        self,
        issuers: tuple[JwtSettings, ...],
        verdict: Judge,
        *,
        kept: float,
        leeway: float,
        clock: Clock,
        events: Events,
    ) -> None:
        self._verdict = verdict
        self._kept = kept + leeway
        self._outlived = False
        self._events = events
        self._verifier: Verifier | None = None
        self._lacks: str | None = None
        if any(issuer.has_key for issuer in issuers):
            try:
                from ...jwt import Verifier  # noqa: PLC0415 - what it needs is an extra
            except ModuleNotFoundError as error:
                self._lacks = error.name  # a key may be set for others in this process
            else:
                self._verifier = Verifier(*issuers, leeway=leeway, clock=clock, events=events)

    @property
    def verifier(self) -> Verifier:
        """What reads tokens, without asking whether they were revoked.

        Raises:
            InvalidInputError: there is no key.
            SettingsError: PyJWT is not installed.
        """
        if self._lacks is not None:
            raise SettingsError(f"whole tokens need {self._lacks}", remedy=installing("jwt"))
        if self._verifier is None:
            raise InvalidInputError(
                "there is no key to verify tokens with",
                remedy="set ARAGORA_JWT_SECRET or ARAGORA_JWT_JWKS_URL, "
                "or send the jti of a token that you verified",
            )
        return self._verifier

    @property
    def has_key(self) -> bool:
        """Whether any token can be verified."""
        return self._verifier is not None

    @property
    def keys_age(self) -> float | None:
        """Seconds since the issuer's keys were fetched; None where none are published."""
        return self._verifier.age if self._verifier else None

    @property
    def troubles(self) -> dict[str, str]:
        """What keeps keys from being renewed."""
        found = self._verifier.troubles if self._verifier else []
        return {"jwt keys": "; ".join(found)} if found else {}

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        if self._verifier is not None:
            await self._verifier.run()

    async def verify(
        self, token: str, *, within: float = VERIFY_LIMIT, refresh: bool | None = False
    ) -> VerifiedToken:
        """See `Tokens.verify`; with `refresh`, a refresh token and no other; with None, either."""
        try:
            verified = await self.verifier.verify(token, within=within)
            return self._accepted(verified, refresh=refresh)
        except AragoraRedisError as error:
            self._count(error)
            raise

    def verify_at_once(self, token: str) -> VerifiedToken | None:
        """The same by what is known here; None where a key has to be asked for."""
        try:
            verified = self.verifier.verify_at_once(token)
            return None if verified is None else self._accepted(verified, refresh=False)
        except AragoraRedisError as error:
            self._count(error)
            raise

    def _accepted(self, verified: VerifiedToken, *, refresh: bool | None) -> VerifiedToken:
        if refresh is not None and (GENERATION in verified.claims) is not refresh:
            kind = "no refresh token" if refresh else "a refresh token, which opens nothing itself"
            raise TokenInvalidError(f"the token is not valid: it is {kind}")
        try:
            verdict = self._verdict(verified.named)
        except InvalidInputError as error:
            raise TokenInvalidError(f"the token is not valid: {error.message}") from None
        if verdict is not None:
            raise TokenRevokedError("the token was revoked")
        if not self._outlived:
            self._heed_life(verified.claims)
        self._events.emit(TokenJudged("accepted"))
        return verified

    def _heed_life(self, claims: Mapping[str, Any]) -> None:
        """Say once where tokens outlive the cut-offs that end them."""
        issued, ends = claims.get("iat"), claims.get("exp")
        if issued is None or ends is None or ends - issued <= self._kept:
            return
        self._outlived = True
        _log.warning(
            "tokens live for %.1f days, and cut-offs of users and tenants are kept for %.1f: one "
            "that was cut off is accepted again after that; raise ARAGORA_TOKENS_MAX_LIFETIME",
            (ends - issued) / DAY,
            self._kept / DAY,
        )

    def _count(self, error: AragoraRedisError) -> None:
        kind = next(_OUTCOMES[base] for base in type(error).__mro__ if base in _OUTCOMES)
        self._events.emit(TokenJudged(kind))
