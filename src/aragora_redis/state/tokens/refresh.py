"""Refresh tokens: of all who present one, one gets its successor, whatever Redis does meanwhile.

A rotation counts once every replica has it that must, so no failover undoes what a client was told;
where that is not known in time, the client is told nothing but to ask again. What is beyond (all of
Redis restarted empty) is held by the instances: they know how far each family was used up.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...clock import Clock
from ...errors import (
    AragoraRedisError,
    DeadlineError,
    InvalidInputError,
    LinkDownError,
    OutcomeUnknownError,
    OverloadedError,
    RefreshRacedError,
    RefreshReusedError,
    TokenRevokedError,
)
from ...names import validate_text
from ...operation import Operation, Runs
from ...times import Duration, in_seconds, in_seconds_if_given
from ...tokens import refresh
from ...tokens.claims import SEEN
from ...tokens.entry import VALUE_LIMIT, RevocationKind, member_of
from ...tokens.refresh import FAMILY_END, GENERATION, LOGIN_AT, Presented
from ..life import Life
from ..revocations.commitment import RETRY_AFTER, RedisSide
from ..revocations.receipt import Level, Receipt
from ..revocations.revocations import REVOKE_LIMIT, Revocations
from .tokens import Tokens

DEFAULT_LIFETIME = 14 * 86_400.0
"""Seconds that the first token of a family lives by default."""
LONGEST_LOGIN = 10 * 366 * 86_400.0
"""Seconds for which a family with an end may be refreshed."""
REASON = "a refresh token was presented again"
_FINAL = (RefreshRacedError, RefreshReusedError, TokenRevokedError)


@dataclass(frozen=True, slots=True)
class Rotation:
    """The successor of a refresh token.

    Attributes:
        claims: what to sign for it; the other claims of the one before are carried on.
        level: how far the rotation got.
    """

    claims: Mapping[str, Any] = field(repr=False)
    level: Level


class RefreshTokens:
    """Families of refresh tokens.

    Args:
        runs: where there is no Redis, runs operations in this process.
        redis: the way to Redis; None where this process is all there is.
        tokens: what judges and revokes tokens.
        revocations: what is known of families.
        life: from when to when anything is answered.
        server_now: the server's clock, in Unix seconds.
        max_lifetime: seconds for which a cut-off is kept, so the longest that a token may live.
        skew: seconds by which clocks may differ.
        family_claim: the claim that names a token's family.
    """

    def __init__(
        self,
        runs: Runs,
        redis: RedisSide | None,
        tokens: Tokens,
        revocations: Revocations,
        *,
        life: Life,
        clock: Clock,
        server_now: Callable[[], float],
        prefix: str,
        digest_key: bytes,
        max_lifetime: float,
        skew: float,
        family_claim: str,
    ) -> None:
        self._runs = runs
        self._redis = redis
        self._tokens = tokens
        self._revocations = revocations
        self._life = life
        self._clock = clock
        self._server_now = server_now
        self._prefix = prefix
        self._key = digest_key
        self._max_lifetime = max_lifetime
        self._skew = skew
        self._family_claim = family_claim

    def begin(
        self,
        user: str,
        *,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute: Duration | None = None,
        **claims: Any,
    ) -> dict[str, Any]:
        """Claims of the first refresh token of a new family, such as of a login.

        Give the access tokens that come with it the same family, so that they end with it, and what
        `Tokens.stamp` gives for them.

        Args:
            user: its subject.
            lifetime: seconds that it lives.
            absolute: seconds after which no successor lives either, 10 years at most; without an
                end by default.
            claims: others that it and its successors carry.

        Raises:
            InvalidInputError: the user is no text, it would live longer than revocations are kept,
                `absolute` is no such time, or `claims` has what is set here.
        """
        self._life.require()
        validate_text(user, "a user", most=VALUE_LIMIT)
        lifetime = in_seconds(lifetime, "lifetime")
        absolute = in_seconds_if_given(absolute, "absolute")
        self._check_lifetime(lifetime)
        if absolute is not None:
            _check_absolute(absolute)
        whose = {**claims, "sub": user}
        stamp = self._tokens.stamp(whose)
        issued = stamp["iat"]
        end = {} if absolute is None else {FAMILY_END: int(issued + absolute)}
        first = {
            self._family_claim: secrets.token_urlsafe(16),
            GENERATION: 0,
            LOGIN_AT: issued,
            "jti": secrets.token_urlsafe(16),
            **stamp,
            "exp": int(issued + min(lifetime, absolute or lifetime)),
            **end,
        }
        if taken := sorted(claims.keys() & {*first, FAMILY_END, SEEN}):
            raise InvalidInputError(
                f"a login sets {', '.join(taken)} itself",
                remedy="give lifetime, absolute, and other claims",
            )
        return whose | first

    async def rotate(
        self,
        token: str | Mapping[str, Any],
        *,
        nonce: str | None = None,
        lifetime: Duration | None = None,
        within: Duration = REVOKE_LIMIT,
    ) -> Rotation:
        """Use a refresh token up, and get the claims of its successor to sign.

        Args:
            token: whole, or its verified claims.
            nonce: of the client's request: whoever asks again with it within five minutes gets the
                same successor. Without one, who missed the answer has to log in again.
            lifetime: seconds that the successor lives; as long as this one by default.
            within: seconds that this may take.

        Raises:
            TokenInvalidError, TokenExpiredError, TokenRevokedError: it is not accepted.
            RefreshReusedError: it was used before; its family has been ended for good.
            RefreshRacedError: another request was faster, a moment ago.
            OutageError: nothing was done. The same token is still good.
            OutcomeUnknownError: it may be used up; ask again with the same nonce.
            InvalidInputError: these are no claims of a refresh token.
        """
        self._life.require()
        within = in_seconds(within, "within")
        lifetime = in_seconds_if_given(lifetime, "lifetime")
        until = self._clock.monotonic() + within
        claims = await self._verified(token, within)
        if self._clock.monotonic() >= until:
            raise DeadlineError("verifying the token has taken all the time there was")
        old = refresh.presented(claims, self._family_claim)
        new = refresh.successor(self._key, old, nonce or secrets.token_hex(16))
        lives = lifetime if lifetime is not None else self._life_of(old)
        self._check_lifetime(lives)
        now = self._server_now()
        operation = refresh.rotate(
            self._prefix,
            self._key,
            old,
            new,
            issued_at=now,
            ends_at=max(now + lives, old.expires_at) + self._skew,
            spent=self._is_used_up(old),
        )
        try:
            issued, level = await self._carry(operation, until)
        except (RefreshReusedError, TokenRevokedError) as error:
            # Of a family that has ended a wipe may have lost the cut-off; one that is known is not
            # made anew, since it may have been pardoned.
            family = member_of(self._key, RevocationKind.FAMILY, old.family)
            if isinstance(error, RefreshReusedError) or not self._revocations.knows(family):
                # In force here at once; what time is left is for Redis, then the feed goes on.
                left = max(until - self._clock.monotonic(), 0.0)
                await self._tokens.revoke_family(old.family, reason=REASON, within=left)
            raise
        await self._revocations.use_up(refresh.used_up(self._key, old))
        ends = min(issued + lives, old.family_ends_at or float("inf"))
        following = {"jti": new.jti, "iat": int(issued), "exp": int(ends)}
        carried = {name: value for name, value in claims.items() if name != "nbf"}
        return Rotation({**carried, GENERATION: old.generation + 1, **following}, level)

    async def end(self, claims: Mapping[str, Any], *, reason: str = "") -> Receipt:
        """End the family of a refresh token, as at a logout, with all access tokens of it.

        Raises:
            InvalidInputError: these are no claims of a refresh token.
        """
        return await self._tokens.revoke_family(
            refresh.presented(claims, self._family_claim).family, reason=reason
        )

    def is_used_up(self, claims: Mapping[str, Any]) -> bool:
        """Whether a refresh token is known to have been used; never, for another token.

        Raises:
            InvalidInputError: the claims are those of a refresh token, and of wrong types.
        """
        self._life.require()
        if GENERATION not in claims:
            return False
        return self._is_used_up(refresh.presented(claims, self._family_claim))

    def _is_used_up(self, old: Presented) -> bool:
        newest = self._revocations.score(refresh.used_up_member(self._key, old.family))
        return newest is not None and old.generation <= newest

    async def _verified(self, token: str | Mapping[str, Any], within: float) -> Mapping[str, Any]:
        if isinstance(token, str):
            verified = await self._tokens.verification.verify(token, within=within, refresh=True)
            return verified.claims
        if self._tokens.is_revoked(token):
            raise TokenRevokedError("the token was revoked")
        return token

    def _life_of(self, old: Presented) -> float:
        if old.issued_at is None:
            raise InvalidInputError(
                "the token does not say when it was issued", remedy="give lifetime"
            )
        return max(old.expires_at - old.issued_at, 1.0)

    def _check_lifetime(self, lifetime: float) -> None:
        if not 0 < lifetime <= self._max_lifetime:
            raise InvalidInputError(
                f"a refresh token lives up to {self._max_lifetime:g} s",
                remedy="raise ARAGORA_TOKENS_MAX_LIFETIME, for which cut-offs are kept",
            )

    async def _carry(self, operation: Operation[float], until: float) -> tuple[float, Level]:
        """Rotate until the replicas that must have it do; the instant of issue, and the level."""
        if self._redis is None:
            left = until - self._clock.monotonic()
            return await self._runs.run(operation, within=left), Level.LOCAL
        executor = self._redis.executor
        unknown = False
        failed: AragoraRedisError = LinkDownError("there is no usable connection to Redis")
        while await executor.usable(operation, until):
            try:
                ticket = executor.submit(operation, until)
                if ticket is not None:
                    async with asyncio.timeout(max(until - self._clock.monotonic(), 0)):
                        issued = await ticket.primary
                        if not self._redis.required(operation.slot):
                            return issued, Level.PRIMARY
                        unknown = True  # until they have it, a failover may lose it
                        await ticket.replicated
                        return issued, Level.REPLICATED
            except _FINAL:
                raise
            except TimeoutError:
                failed = DeadlineError("its turn to be committed did not come in time")
                unknown |= ticket is not None and ticket.sent
                break
            except OverloadedError as error:
                failed = error
                break
            except AragoraRedisError as error:
                failed = error
                unknown |= isinstance(error, OutcomeUnknownError)
            await asyncio.sleep(RETRY_AFTER)
        if unknown:
            raise OutcomeUnknownError(
                "the token may have been used up, and no answer says so",
                remedy="ask again at once with the same nonce",
            )
        raise failed


def _check_absolute(absolute: float) -> None:
    if not 0 < absolute <= LONGEST_LOGIN:
        raise InvalidInputError(
            "a login with an end may be refreshed for more than 0 s, and for 10 years at most",
            remedy="leave out `absolute` where it has none",
        )
