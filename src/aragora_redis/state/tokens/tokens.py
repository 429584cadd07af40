"""Tokens: checked here without a round trip, and revoked or pardoned for the whole fleet."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ...audit.act import Act
from ...clock import Clock
from ...digests import digest_of
from ...errors import InvalidInputError
from ...events import Events
from ...settings import JwtSettings
from ...settings.model import fingerprint_of
from ...times import Duration, Instant, in_seconds, unix
from ...tokens.claims import SEEN, USUAL, ClaimNames, Judge, Judged, Verdict
from ...tokens.entry import (
    SHARDS,
    RevocationKind,
    cut_off_entry,
    first_issue,
    jti_entry,
    member_of,
)
from ...tokens.lifetime import check_cut_off, check_expiry, revoked_until
from ...tokens.listing import Place, RevocationList, told
from ...tokens.note import Note
from ...tokens.transfer import Reader, Writer
from ..audit.audit import UNRECORDED, Recorder
from ..life import Life
from ..revocations.importing import IMPORT_LIMIT, Importing, in_steps
from ..revocations.receipt import Imported, Level, Receipt
from ..revocations.revocations import REVOKE_LIMIT, Revocations
from .verification import VERIFY_LIMIT, TokenVerification

if TYPE_CHECKING:
    from ...jwt import VerifiedToken


class Tokens:
    """The revocations of the fleet, as this instance knows them.

    Args:
        revocations: what is known of them.
        life: from when to when anything is answered.
        server_now: the server's clock, in Unix seconds; ours where it is not known.
        max_lifetime: seconds for which a cut-off is kept.
        skew: seconds by which the clocks of issuers may differ.
        claims: what the claims are called that name a token's tenant and family.
        issuers: whose tokens `verify` accepts.
        audit: records what names an actor.
    """

    def __init__(
        self,
        revocations: Revocations,
        *,
        life: Life,
        clock: Clock,
        events: Events,
        server_now: Callable[[], float],
        digest_key: bytes,
        max_lifetime: float,
        skew: float,
        claims: ClaimNames = USUAL,
        issuers: tuple[JwtSettings, ...] = (),
        audit: Recorder = UNRECORDED,
    ) -> None:
        self._revocations = revocations
        self._life = life
        self._publisher = revocations.publisher
        self._clock = clock
        self._server_now = server_now
        self._key = digest_key
        self._max_lifetime = max_lifetime
        self._skew = skew
        self._judge = Judge(digest_key, claims)
        self._scores = revocations.scores
        self._monotonic = clock.monotonic
        self._audit = audit
        self.verification = TokenVerification(
            issuers, self.verdict, kept=max_lifetime, leeway=skew, clock=clock, events=events
        )

    def __len__(self) -> int:
        return len(self._revocations)

    @property
    def outbox_depth(self) -> int:
        """Own revocations that no primary is known to hold."""
        return self._revocations.outbox_depth

    async def verify(self, token: str, *, within: Duration = VERIFY_LIMIT) -> VerifiedToken:
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
        self._life.require()
        within = in_seconds(within, "within")
        return await self.verification.verify(token, within=within)

    # --- asking -------------------------------------------------------------------------

    def is_revoked(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these verified claims is revoked. No round trip.

        Raises:
            InvalidInputError: the claims name neither a token nor anybody.
            NotReadyError: the revocations have not been loaded since this instance started.
            StaleError: they are older than allowed, and the risk policy is to deny.
        """
        return self._judged(claims) is not None

    def verdict(self, claims: Mapping[str, Any]) -> Verdict | None:
        """By which rule a token is revoked, or None. Raises as `is_revoked` does."""
        found = self._judged(claims)
        return found.verdict if found is not None else None

    def _judged(self, claims: Mapping[str, Any]) -> Judged | None:
        if not self._life.lives:
            self._life.require()
        # Asked first: threads may judge as the loop loads what others will vouch for.
        vouched = self._monotonic() <= self._revocations.vouched_until
        found = self._judge.judge(claims, self._scores)
        # What is known to be revoked is so, however little else is known.
        if found is None and not vouched:
            self._revocations.vouch(lambda: self._consulted(claims))
            found = self._judge.judge(claims, self._scores)  # by what was vouched for
        return found

    def _consulted(self, claims: Mapping[str, Any]) -> set[int]:
        """The shards by which a token that is not revoked is judged."""
        members: list[bytes] = []
        self._judge.judge(claims, (members.append,) * SHARDS)
        return {member[0] % SHARDS for member in members}

    def stamp(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """What to sign beside the claims of a login that was checked just now.

        It is `iat`, now; and right after a cut-off of its user or tenant, which lies ahead by the
        allowed skew of clocks, the claim `cut_offs_seen`: who logs in anew is not meant by it. The
        next cut-off covers the login, however soon it comes.

        Raises:
            InvalidInputError: the claims are of wrong types.
        """
        self._life.require()
        now = self._server_now()
        ahead = self._judge.cut_offs_ahead(claims, self._scores, now)
        return {"iat": int(now)} | ({SEEN: ahead} if ahead else {})

    async def note(self, claims: Mapping[str, Any]) -> Note | None:
        """Who revoked a token and why; None where it is not revoked. Raises as `is_revoked` does.

        The words are empty where none were given, or Redis cannot be asked now.
        """
        self._life.require()
        found = self._judge.judge(claims, self._scores)
        if found is None:
            return None
        text = await self._revocations.note_of(found.member)
        return Note.read(text)._replace(kind=found.verdict.kind)

    async def reason(self, claims: Mapping[str, Any]) -> str | None:
        """The reason given when a token was revoked, where one was and Redis can be asked."""
        note = await self.note(claims)
        return (note.reason or None) if note is not None else None

    # --- revoking -----------------------------------------------------------------------

    async def revoke(
        self,
        jti: str,
        *,
        expires_at: Instant,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: Duration = REVOKE_LIMIT,
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
        self._life.require()
        expiry, within = unix(expires_at, "expires_at"), in_seconds(within, "within")
        check_expiry(expiry, earliest=self._earliest(), latest=self._latest())
        note = Note.of(RevocationKind.JTI, actor, reason)
        entry = self._revocations.anew(jti_entry(self._key, jti, expiry, note.text), ends=True)
        return await self._by_hand(
            note,
            "revoke",
            entry.member,
            lambda: self._publisher.publish(entry, "jti", level, within),
        )

    def revoked_until(self, expires_at: float) -> float | None:
        """Until when a verified token is to be revoked that expires then (Unix seconds).

        None where it is long over, by Redis's clock too: nothing need be revoked then.
        """
        return revoked_until(expires_at, self._earliest())

    async def revoke_user(
        self,
        user: str,
        *,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: Duration = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens that were issued to a user at or before a moment.

        By default that moment is now plus the allowed skew of clocks, so a token issued in the next
        seconds is refused too: sign what `stamp` gives for new ones, or an `iat` of at least the
        receipt's `not_before`.

        Args:
            user: as in the claim `sub`.
            issued_before: the moment, in Unix seconds or as an aware datetime; not ahead.
            reason: as for a token.
            actor: as for a token; a cut-off is recorded over HTTP in any case.
            level: as for a token.
            within: as for a token.

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
        within: Duration = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens of a family: of one login, and what was refreshed from it.

        The claim `ARAGORA_TOKENS_FAMILY_CLAIM` of a token names it. See `revoke_user`.

        Args:
            family: its name, as in the claim.
            issued_before: as for a user, of access tokens. Refresh tokens end with their family,
                whenever they were issued: one that did not know of the end may have a successor.
            reason: as for a token.
            actor: as for a token.
            level: as for a token.
            within: as for a token.

        Raises:
            InvalidInputError, LevelUnavailableError: nothing was revoked.
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
        within: Duration = REVOKE_LIMIT,
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

    def _earliest(self) -> float:
        """Now by the clock that is behind: what is over by one alone may live for the others."""
        return min(self._server_now(), self._clock.wall())

    def _latest(self) -> float:
        return max(self._server_now(), self._clock.wall())

    async def _cut_off(
        self,
        name: str,
        issued_before: Instant | None,
        note: Note,
        level: Level | None,
        within: Duration,
    ) -> Receipt:
        self._life.require()
        within = in_seconds(within, "within")
        now = self._latest()
        kind = note.kind or RevocationKind.USER
        member = member_of(self._key, kind, name)
        if issued_before is None:
            known = self._revocations.score(member)
            # Later than the one before in any case: logins came after that one.
            cut_off = max(now + self._skew, (known + 1) / 1000 if known is not None else 0)
        else:
            cut_off = unix(issued_before, "issued_before")
            check_cut_off(cut_off, now, skew=self._skew, max_lifetime=self._max_lifetime)
        entry = cut_off_entry(member, cut_off, self._max_lifetime, note.text)
        entry = self._revocations.anew(entry)
        latest = max(self._revocations.score(member) or 0, entry.score)
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
        within: Duration = REVOKE_LIMIT,
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
        self._life.require()
        within = in_seconds(within, "within")
        kind, name = _one_of(jti=jti, user=user, tenant=tenant, family=family)
        note = Note.of(kind, actor, reason)
        member = member_of(self._key, kind, name)
        due = self._revocations.due(member)
        if not due:
            raise InvalidInputError(f"this {kind.name.lower()} is not revoked, so nothing was done")

        async def work() -> Receipt:
            receipts = await asyncio.gather(
                *(
                    self._publisher.publish(
                        self._revocations.pardons.pardon(entry, note.text), "pardon", level, within
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
        self._life.require()
        return await self._revocations.ledger.count()

    async def list(self, limit: int = 50, *, after: str | None = None) -> RevocationList:
        """A page of the revocations, those first that may be forgotten first.

        Args:
            limit: how many at most.
            after: where it begins, as the page before has told.

        Raises:
            InvalidInputError: no page has told that.
            OutageError, OutcomeUnknownError: the primary cannot be asked.
        """
        self._life.require()
        ledger = self._revocations.ledger
        page = await ledger.first(limit, None if after is None else Place.parse(after))
        undone = await ledger.pardoned(page.shown, self._revocations.pardons)
        pairs = zip(page.shown, undone, strict=True)
        shown = tuple(told(each, pardoned=gone) for each, gone in pairs)
        more = str(Place.of(page.shown[-1])) if page.more and page.shown else None
        return RevocationList(page.total, shown, more)

    async def export_all(self) -> AsyncIterator[bytes]:
        """All revocations, as JSON lines of digests; `import_all` takes them.

        They come in pieces that belong together, of many lines each.

        Raises:
            OutageError, OutcomeUnknownError: the primary cannot be asked, or was replaced: what
                was written has no last line, and is refused.
        """
        self._life.require()
        writer = Writer(fingerprint_of(self._key), self._clock.wall())
        yield writer.head
        async for page in self._revocations.ledger.pages():
            yield writer.lines(page)
        yield writer.end()

    async def import_all(
        self,
        lines: Iterable[bytes] | AsyncIterable[bytes],
        *,
        reason: str = "",
        actor: str = "",
        within: Duration = IMPORT_LIMIT,
    ) -> Imported:
        """Join what `export_all` wrote, line by line, to what is revoked here.

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
        self._life.require()
        within = in_seconds(within, "within")

        async def work() -> Imported:
            reader = Reader(
                fingerprint_of(self._key),
                earliest=self._earliest(),
                latest=self._latest(),
                skew=self._skew,
            )
            importing = Importing(reader, self._publisher, within)
            async for step in in_steps(lines):
                await importing.step(step)
            return importing.finish()

        act = Act(actor=actor, action="tokens import", target="revocations", reason=reason)
        return await self._audit.act(act, work, str)


def _one_of(**given: str | None) -> tuple[RevocationKind, str]:
    named = [(RevocationKind[what.upper()], name) for what, name in given.items() if name]
    if len(named) != 1:
        raise InvalidInputError(f"give exactly one of {', '.join(given)}")
    return named[0]
