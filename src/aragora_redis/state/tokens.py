"""Revoked tokens: checked here without a round trip, revoked in memory first and in Redis next.

Invariant I1, revocation is monotone: a revocation is a join, applied to this instance before
anything is sent, kept by it until the token expires, and published again after every failover.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..audit.act import Act
from ..clock import Clock
from ..errors import (
    AragoraRedisError,
    InvalidInputError,
    NotReadyError,
    StaleError,
)
from ..events import Events
from ..settings import JwtSettings
from ..settings.model import fingerprint_of
from ..tokens import operations
from ..tokens.claims import ClaimNames, Verdict, earliest_issue, judge
from ..tokens.entry import (
    SHARDS,
    Entry,
    RevocationKind,
    cut_off_entry,
    first_issue,
    jti_entry,
    member_of,
    newest_cut_off,
)
from ..tokens.lifetime import EXPIRED_GRACE, FAR
from ..tokens.note import Note
from ..tokens.pardon import NO_PARDONS, Pardons
from ..tokens.shard import Shard
from ..tokens.told import RevocationList, digest_of, told
from ..tokens.transfer import Reader, Writer
from .audit import UNRECORDED, Recorder
from .commitment import RedisSide
from .ledger import Ledger, MemoryLedger, RedisLedger
from .loading import LOAD_LIMIT, LOAD_STEP, Loading
from .outbox import Outbox
from .publisher import Publisher
from .receipt import Instant, Level, Loaded, Receipt, unix
from .verification import VERIFY_LIMIT, Verification

if TYPE_CHECKING:
    from ..jwt import VerifiedToken

REVOKE_LIMIT = 1.0
"""Seconds that `revoke` may take by default."""


class Tokens:
    """The revocations of the fleet, as this instance knows them.

    Args:
        shards: the replica.
        redis: the way to Redis; None where this process is all there is.
        server_now: the server's clock, in Unix seconds; ours where it is not known.
        deny_when_stale: refuse to vouch for tokens when staler than `max_staleness` seconds.
        level: what `revoke` waits for where it can be had; None for the highest that can.
        max_lifetime: seconds for which a cut-off is kept.
        skew: seconds by which the clocks of issuers may differ.
        claims: what the claims are called that name a token's tenant and family.
        pardons: what knows a pardon.
        outbox: where revocations outlive this instance; None keeps them in memory.
        issuers: whose tokens `verify` accepts.
        audit: records what names an actor.
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
        pardons: Pardons = NO_PARDONS,
        outbox: Outbox | None = None,
        issuers: tuple[JwtSettings, ...] = (),
        audit: Recorder = UNRECORDED,
    ) -> None:
        self._shards = shards
        self._redis = redis
        self._clock = clock
        self._server_now = server_now
        self._key = digest_key
        self._deny_when_stale = deny_when_stale
        self._max_staleness = max_staleness
        self._max_lifetime = max_lifetime
        self._skew = skew
        self._claims = claims
        self._audit = audit
        self.verification = Verification(
            issuers, self.verdict, leeway=skew, clock=clock, events=events
        )
        self.pardons = pardons
        self._publisher = Publisher(
            shards, redis, clock=clock, events=events, level=level, outbox=outbox
        )
        self.ledger: Ledger = (
            RedisLedger(redis.executor, redis.keys, server_now)
            if redis is not None
            else MemoryLedger(shards, self._publisher.notes, clock.wall)
        )
        """The revocations as the primary has them."""

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
        consulted: list[int] = []
        shards, pardons = self._shards, self.pardons

        def score(member: bytes) -> int | None:  # as `_score`, without its calls
            index = member[0] % SHARDS
            consulted.append(index)
            replica = shards[index].replica
            found = replica.score(member)
            if found is None or not replica.pardons:
                return found
            return max((each.score for each in pardons.due(replica, member)), default=None)

        found = judge(claims, self._key, score, self._claims)
        if found is None:  # what is known to be revoked is so, however little else is known
            self._vouch(consulted)
            return None
        return found.verdict

    def issued_at(self, claims: Mapping[str, Any]) -> int:
        """The `iat` to sign for a login that was checked just now, in whole Unix seconds.

        It is now, or right after the newest cut-off of its user, tenant and family that is known
        here: a cut-off lies ahead by the allowed skew of clocks, and who logs in anew is not meant
        by it. Of what was checked before a cut-off, sign the `iat` of then.

        Raises:
            InvalidInputError: the claims are of wrong types.
        """
        now = int(self._server_now())
        return max(now, earliest_issue(claims, self._key, self._score, self._claims))

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
        if day is None:
            return None
        if self._redis is None:
            return self._publisher.notes.get(member)
        note = operations.note_of(self._redis.keys[shard.index], day, member)
        with contextlib.suppress(AragoraRedisError):
            return await self._redis.executor.run(note, within=0.05)
        return None

    def _score(self, member: bytes) -> int | None:
        replica = self._shards[member[0] % SHARDS].replica
        score = replica.score(member)
        if score is None or not replica.pardons:
            return score
        return max((each.score for each in self.pardons.due(replica, member)), default=None)

    async def _revoke(self, entry: Entry, kind: str, level: Level | None, within: float) -> Receipt:
        return await self._publisher.publish(self._anew(entry), kind, level, within)

    def _anew(self, entry: Entry, *, ends: bool = False) -> Entry:
        return self.pardons.anew(self._shards[entry.shard].replica, entry, ends=ends)

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
                "the revocations are not loaded yet",
                remedy="wait until the state is started and ready, see /readyz",
            )

    def apply(self, entry: Entry) -> None:
        """Take in what is known of a revocation from elsewhere; nothing is published by that."""
        self._shards[entry.shard].replica.apply(entry)

    def adopt(self, entry: Entry) -> None:
        """Take over what an instance that died had revoked, to be published as our own."""
        self._publisher.take_in(entry)

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

    # --- refresh tokens -----------------------------------------------------------------

    async def use_up(self, entry: Entry) -> None:
        """Remember that a refresh token was used; it is published in the background."""
        await self._revoke(entry, "refresh", Level.LOCAL, 0)

    def generation_used(self, member: bytes) -> int | None:
        """The newest generation that is known to be used of a family, or None."""
        return self._score(member)

    def knows_family(self, family: str) -> bool:
        """Whether a cut-off of a family is known here, were it pardoned."""
        member = member_of(self._key, RevocationKind.FAMILY, family)
        return self._shards[member[0] % SHARDS].replica.score(member) is not None

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
            actor: who does this; stored beside the reason, and the act is recorded
                (`state.audit`). Leave it out where users end what is theirs, as at a logout.
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
        entry = self._anew(jti_entry(self._key, jti, expiry, note.text), ends=True)
        return await self._by_hand(
            note,
            "revoke",
            entry.member,
            lambda: self._publisher.publish(entry, "jti", level, within),
        )

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
        seconds is refused too: give new ones the `iat` of `issued_at`, or at least the receipt's
        `not_before`, which the next cut-off covers, however soon it comes.

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
        kind = note.kind or RevocationKind.USER
        member = member_of(self._key, kind, name)
        if issued_before is None:
            cut_off = newest_cut_off(limit, self._score(member))
        elif (cut_off := unix(issued_before, "issued_before")) > limit:
            raise InvalidInputError(
                "issued_before lies in the future",
                remedy="it would refuse every login until then; give a past moment, or none",
            )
        elif cut_off + self._max_lifetime < now:
            raise InvalidInputError("no token issued before issued_before can still be valid")
        entry = self._anew(cut_off_entry(member, cut_off, self._max_lifetime, note.text))
        latest = max(self._score(entry.member) or 0, entry.score)
        receipt = await self._by_hand(
            note,
            "revoke",
            member,
            lambda: self._publisher.publish(entry, kind.name.lower(), level, within),
        )
        return replace(receipt, not_before=first_issue(latest))

    async def pardon(
        self,
        *,
        jti: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
        family: str | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: float = REVOKE_LIMIT,
    ) -> Receipt:
        """Undo the revocation of exactly one of these, as it stands now, for the whole fleet.

        What is revoked after that is revoked again. An instance that has not heard of the pardon
        yet, and revokes just the same, does nothing by that. Of a family that ended because a
        refresh token was presented again the access tokens pass; its refresh tokens stay ended.

        Raises:
            InvalidInputError: it is not revoked as far as is known here, or there is no key for
                pardons (`ARAGORA_PARDON_KEY`). Nothing was done.
            LevelUnavailableError: nothing was done.
        """
        kind, name = _one_of(jti=jti, user=user, tenant=tenant, family=family)
        note = Note.of(kind, actor, reason)
        member = member_of(self._key, kind, name)
        due = self.pardons.due(self._shards[member[0] % SHARDS].replica, member)
        if not due:
            raise InvalidInputError(f"this {kind.name.lower()} is not revoked, so nothing was done")

        async def work() -> Receipt:
            receipts = await asyncio.gather(
                *(
                    self._publisher.publish(
                        self.pardons.pardon(entry, note.text), "pardon", level, within
                    )
                    for entry in due
                )
            )
            return min(receipts, key=lambda receipt: receipt.level)

        return await self._by_hand(note, "pardon", member, work)

    async def _by_hand(
        self, note: Note, verb: str, member: bytes, work: Callable[[], Awaitable[Receipt]]
    ) -> Receipt:
        what = note.kind.name.lower() if note.kind is not None else ""
        act = Act(
            actor=note.actor,
            action=f"tokens {verb}",
            target=f"{what} {digest_of(member)}",
            reason=note.reason,
        )
        return await self._audit.act(act, work, lambda receipt: receipt.level.word)

    # --- all of them --------------------------------------------------------------------

    async def count(self) -> int:
        """How many revocations are kept, those of today that are over by now included.

        Raises:
            OutageError, OutcomeUnknownError: the primary cannot be asked.
        """
        return (await self.ledger.first(0)).total

    async def list(self, limit: int = 50) -> RevocationList:
        """Up to `limit` revocations, those first that may be forgotten first; raises as `count`."""
        page = await self.ledger.first(limit)
        undone = await self.ledger.pardoned(page.shown, self.pardons)
        pairs = zip(page.shown, undone, strict=True)
        return RevocationList(page.total, tuple(told(each, pardoned=gone) for each, gone in pairs))

    async def export(self) -> AsyncIterator[bytes]:
        """All revocations as JSON lines of digests, in pieces that belong together; see `load`.

        Raises:
            OutageError, OutcomeUnknownError: the primary cannot be asked, or was replaced: what
                was written has no last line, and is refused.
        """
        writer = Writer(fingerprint_of(self._key), self._clock.wall())
        yield writer.head
        async for page in self.ledger.pages():
            yield writer.lines(page)
        yield writer.end()

    async def load(
        self,
        lines: Iterable[bytes] | AsyncIterable[bytes],
        *,
        reason: str = "",
        actor: str = "",
        within: float = LOAD_LIMIT,
    ) -> Loaded:
        """Join what `export` wrote, line by line, to what is revoked here.

        What came before a line that is refused is joined, which is harmless; `ran` says if any was.

        Args:
            lines: each with its line break.
            reason: as for a token.
            actor: as for a token.
            within: seconds for one step of 1 000 lines.

        Raises:
            InvalidInputError: it is damaged, cut short, or of another digest key.
            OutcomeUnknownError: Redis did not confirm all of it in time; import it again.
        """

        async def work() -> Loaded:
            now = max(self._server_now(), self._clock.wall())
            reader = Reader(fingerprint_of(self._key), now=now, skew=self._skew)
            loading = Loading(reader, self._publisher, within)
            async for step in _steps(lines):
                await loading.step(step)
            return loading.finish()

        act = Act(actor=actor, action="tokens import", target="revocations", reason=reason)
        return await self._audit.act(act, work, str)


def _one_of(**given: str | None) -> tuple[RevocationKind, str]:
    named = [(RevocationKind[what.upper()], name) for what, name in given.items() if name]
    if len(named) != 1:
        raise InvalidInputError(f"give exactly one of {', '.join(given)}")
    return named[0]


async def _steps(lines: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[list[bytes]]:
    if not isinstance(lines, AsyncIterable):
        given = iter(lines)
        while step := list(islice(given, LOAD_STEP)):
            yield step
        return
    step = []
    async for line in lines:
        step.append(line)
        if len(step) == LOAD_STEP:
            yield step
            step = []
    if step:
        yield step
