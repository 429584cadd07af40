"""Revoked tokens: checked here without a round trip, revoked in memory first and in Redis next.

Invariant I1, revocation is monotone: a revocation is a join, applied to this instance before
anything is sent, kept by it until the token expires, and published again after every failover.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..errors import (
    AragoraRedisError,
    InvalidInputError,
    LevelUnavailableError,
    NotReadyError,
    StaleError,
)
from ..events import Events, Revoked
from ..settings import JwtSettings
from ..tokens import operations
from ..tokens.claims import ClaimNames, Verdict, judge
from ..tokens.entry import SHARDS, Entry, RevocationKind, cut_off_entry, jti_entry, member_of
from ..tokens.note import Note
from ..tokens.shard import Shard
from .commitment import RedisSide, before, commit
from .outbox import Outbox
from .receipt import Instant, Kept, Level, Receipt, unix
from .verification import VERIFY_LIMIT, Verification

if TYPE_CHECKING:
    from ..jwt import VerifiedToken

REVOKE_LIMIT = 1.0
"""Seconds that `revoke` may take by default."""
FAR = 10 * 366 * 86_400.0
"""Seconds ahead after which an expiry is taken for a mistake, such as milliseconds."""
EXPIRED_GRACE = 3600.0
"""Seconds for which an expired token is still revoked, for clocks that differ."""


class Tokens:
    """The revocations of the fleet, as this instance knows them.

    Args:
        shards: the replica.
        redis: the way to Redis; None where this process is all there is.
        server_now: the server's clock, in Unix seconds; ours where it is not known.
        deny_when_stale: refuse to vouch for tokens when staler than `max_staleness` seconds.
        level: what `revoke` waits for; None for the highest that the deployment has.
        max_lifetime: seconds for which a cut-off is kept.
        skew: seconds by which the clocks of issuers may differ.
        claims: what the claims are called that name a token's tenant and family.
        outbox: where revocations outlive this instance; None keeps them in memory.
        issuers: whose tokens `verify` accepts.
    """

    def __init__(
        self,
        shards: list[Shard],
        redis: RedisSide | None,
        *,
        clock: Clock,
        events: Events,
        server_now: Callable[[], float],
        digest_key: bytes,
        deny_when_stale: bool,
        max_staleness: float,
        level: Level | None,
        max_lifetime: float,
        skew: float,
        claims: ClaimNames = ClaimNames(),  # noqa: B008 - it is frozen
        outbox: Outbox | None = None,
        issuers: tuple[JwtSettings, ...] = (),
    ) -> None:
        self._shards = shards
        self._redis = redis
        self._clock = clock
        self._events = events
        self._server_now = server_now
        self._key = digest_key
        self._deny_when_stale = deny_when_stale
        self._max_staleness = max_staleness
        self._level = level
        self._max_lifetime = max_lifetime
        self._skew = skew
        self._claims = claims
        self._outbox = outbox
        self.verification = Verification(
            issuers, self.verdict, leeway=skew, clock=clock, events=events
        )

    def __len__(self) -> int:
        return sum(len(shard.replica) for shard in self._shards)

    @property
    def outbox_depth(self) -> int:
        """Own revocations that no primary is known to hold."""
        return sum(len(shard.dirty) for shard in self._shards)

    async def verify(self, token: str, *, within: float = VERIFY_LIMIT) -> VerifiedToken:
        """Verify a whole token, and look it up among the revoked ones.

        Needs the extra `jwt`, and a key (`ARAGORA_JWT_SECRET` or `ARAGORA_JWT_JWKS_URL`). Only a
        key that is not known here yet is asked for; all else is answered by this process.

        Args:
            token: as it was issued.
            within: seconds to wait for a key.

        Raises:
            TokenInvalidError, TokenExpiredError, TokenRevokedError: it is not accepted.
            KeysUnavailableError, NotReadyError, StaleError: this instance cannot say.
            InvalidInputError, SettingsError: nothing can be verified here.
        """
        return await self.verification.verify(token, within=within)

    # --- asking -------------------------------------------------------------------------

    def is_revoked(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these verified claims is revoked. No round trip.

        Raises:
            InvalidInputError: the claims name neither a token nor anybody.
            NotReadyError: the revocations have not been loaded since this instance started.
            StaleError: they are older than allowed, and the risk policy is to deny.
        """
        return self.verdict(claims) is not None

    def verdict(self, claims: Mapping[str, Any]) -> Verdict | None:
        """By which rule a token is revoked, or None. Raises as `is_revoked` does."""
        consulted: set[int] = set()

        def score(member: bytes) -> int | None:
            consulted.add(member[0] % SHARDS)
            return self._score(member)

        found = judge(claims, self._key, score, self._claims)
        if found is None:  # what is known to be revoked is so, however little else is known
            self._vouch(consulted)
            return None
        return found.verdict

    async def note(self, claims: Mapping[str, Any]) -> Note | None:
        """Who revoked a token and why; None where it is not revoked. Raises as `is_revoked` does.

        The words are empty where none were given, or Redis cannot be asked now.
        """
        found = judge(claims, self._key, self._score, self._claims)
        if found is None:
            return None
        text = await self._note_text(found.member)
        return Note.read(text)._replace(kind=found.verdict.kind)

    async def reason(self, claims: Mapping[str, Any]) -> str | None:
        """The reason given when a token was revoked, where one was and Redis can be asked."""
        note = await self.note(claims)
        return (note.reason or None) if note is not None else None

    async def _note_text(self, member: bytes) -> str | None:
        shard = self._shards[member[0] % SHARDS]
        day = shard.replica.day_of(member)
        if day is None or self._redis is None:
            return None
        note = operations.note_of(self._redis.keys[shard.index], day, member)
        with contextlib.suppress(AragoraRedisError):
            return await self._redis.executor.run(note, within=0.05)
        return None

    def _score(self, member: bytes) -> int | None:
        return self._shards[member[0] % SHARDS].replica.score(member)

    def _vouch(self, shards: Collection[int]) -> None:
        self.require_ready()
        if self._redis is None or not self._deny_when_stale:
            return
        if (age := self._redis.staleness(shards)) > self._max_staleness:
            raise StaleError(
                f"the revocations are {age:.1f} s old",
                remedy="ARAGORA_TOKENS_ON_OUTAGE=known would enforce what is known",
            )

    def require_ready(self) -> None:
        """Refuse to say that something was not revoked before that can be known.

        Raises:
            NotReadyError: the revocations have not been loaded since this instance started.
        """
        if self._redis is not None and not self._redis.ready():
            raise NotReadyError(
                "the revocations are not loaded yet", remedy="wait for readiness, see /readyz"
            )

    # --- sessions -----------------------------------------------------------------------

    def has_ended(self, member: bytes) -> bool:
        """Whether the session with this digest is known to have ended."""
        return self._score(member) is not None

    def session_score(self, member: bytes) -> int | None:
        """The score of a tombstone, or of the cut-off of all sessions; None where there is none."""
        return self._score(member)

    async def end_sessions(
        self, tombstones: Sequence[Entry], *, within: float = REVOKE_LIMIT
    ) -> Receipt:
        """Let sessions stay ended, whatever becomes of what Redis holds of them.

        Returns:
            The receipt of the one that got least far.
        """
        if not tombstones:
            return Receipt(Level.LOCAL, Level.LOCAL)
        receipts = await asyncio.gather(
            *(self._revoke(entry, "session", None, within) for entry in tombstones)
        )
        return min(receipts, key=lambda receipt: receipt.level)

    # --- revoking -----------------------------------------------------------------------

    async def revoke(
        self,
        jti: str,
        *,
        expires_at: Instant,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse one token from now on, until it expires.

        Args:
            jti: the token's id, from verified claims.
            expires_at: the token's own expiry, in Unix seconds or as an aware datetime.
            reason: for people; not a secret, it is stored as it is.
            actor: who does this, for people; stored beside the reason.
            level: what to wait for; the deployment's highest by default.
            within: seconds to wait for it. The receipt tells the level truly reached.

        Raises:
            InvalidInputError, LevelUnavailableError: nothing was revoked.
        """
        expiry = unix(expires_at, "expires_at")
        now = self._clock.wall()
        if expiry < now - EXPIRED_GRACE:
            raise InvalidInputError("expires_at is past: the token's own expiry refuses it")
        if expiry > now + FAR:
            raise InvalidInputError(
                "expires_at is more than ten years ahead", remedy="give Unix seconds"
            )
        note = Note.of(RevocationKind.JTI, actor, reason)
        entry = jti_entry(self._key, jti, expiry, note.text)
        return await self._revoke(entry, "jti", level, within)

    async def revoke_user(
        self,
        user: str,
        *,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens that were issued to a user at or before a moment.

        By default that moment is now plus the allowed skew of clocks, so a token issued in the next
        seconds is refused too: give new ones an `iat` of at least the receipt's `not_before`.

        Raises:
            InvalidInputError, LevelUnavailableError: nothing was revoked.
        """
        note = Note.of(RevocationKind.USER, actor, reason)
        return await self._cut_off(user, issued_before, note, level, within)

    async def revoke_family(
        self,
        family: str,
        *,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens of a family: of one login, and what was refreshed from it.

        The claim `ARAGORA_TOKENS_FAMILY_CLAIM` of a token names it. See `revoke_user`, also for
        what is raised.
        """
        note = Note.of(RevocationKind.FAMILY, actor, reason)
        return await self._cut_off(family, issued_before, note, level, within)

    async def revoke_tenant(
        self,
        tenant: str,
        *,
        users: int,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens of all users of a tenant. There is no way to do this by mistake.

        The claim `ARAGORA_TOKENS_TENANT_CLAIM` of a token names it. See `revoke_user`.

        Args:
            tenant: its name, as in the claim.
            users: how many users this logs out, by your own directory. Only digests are stored
                here, so nobody can count them; the number is kept with the reason.
            issued_before: as for a user.
            reason: as for a token.
            actor: as for a token.
            level: as for a token.
            within: as for a token.

        Raises:
            InvalidInputError, LevelUnavailableError: nothing was revoked.
        """
        if isinstance(users, bool) or not isinstance(users, int) or users < 1:
            raise InvalidInputError(
                "a tenant is revoked by whoever says how many users that logs out",
                remedy="give users, a whole number from 1",
            )
        note = Note.of(RevocationKind.TENANT, actor, f"{users} users: {reason}")
        return await self._cut_off(tenant, issued_before, note, level, within)

    async def _cut_off(
        self,
        name: str,
        issued_before: Instant | None,
        note: Note,
        level: Level | None,
        within: float,
    ) -> Receipt:
        now = max(self._server_now(), self._clock.wall())
        limit = now + self._skew
        cut_off = limit if issued_before is None else unix(issued_before, "issued_before")
        if cut_off > limit:
            raise InvalidInputError(
                "issued_before lies in the future",
                remedy="it would refuse every login until then; give a past moment, or none",
            )
        if cut_off + self._max_lifetime < now:
            raise InvalidInputError("no token issued before issued_before can still be valid")
        kind = note.kind or RevocationKind.USER
        member = member_of(self._key, kind, name)
        entry = cut_off_entry(member, cut_off, self._max_lifetime, note.text)
        latest = max(self._score(entry.member) or 0, entry.score)
        receipt = await self._revoke(entry, kind.name.lower(), level, within)
        return replace(receipt, not_before=latest // 1000 + 1)

    async def _revoke(self, entry: Entry, kind: str, level: Level | None, within: float) -> Receipt:
        wanted = self._attainable(level)
        started = self._clock.monotonic()
        until = started + within
        shard = self._shards[entry.shard]
        shard.add_own(entry)
        kept = self._outbox.keep(entry) if self._outbox is not None else None
        if self._redis is None:  # with a Redis, the feed does
            shard.drop_past(self._clock.wall())
        if self._redis is None or wanted is Level.LOCAL:
            if self._redis is not None:
                self._redis.wake()
            receipt = Receipt(Level.LOCAL, wanted)
        else:
            receipt = await commit(self._redis, self._clock, shard, entry, wanted, until=until)
        on_disk = kept is not None and await before(kept, until, self._clock)
        outbox: Kept = "disk" if on_disk else "memory"
        seconds = self._clock.monotonic() - started
        self._events.emit(Revoked(kind, receipt.level.word, seconds))
        return replace(receipt, outbox=outbox)

    def _attainable(self, level: Level | None) -> Level:
        if level is not None and not isinstance(level, Level):
            raise InvalidInputError("a level is one of aragora_redis.Level")
        wanted = level if level is not None else self._level
        if self._redis is None:
            highest = Level.LOCAL
        else:
            highest = Level.REPLICATED if self._redis.replicating else Level.PRIMARY
        if wanted is None:
            return highest
        if wanted > highest:
            raise LevelUnavailableError(
                f"level {wanted.word} cannot be given here",
                remedy=f"the highest of this deployment is {highest.word}",
            )
        return wanted
