"""Tokens for threads; see `aragora_redis.state.tokens.tokens`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..state.revocations.importing import IMPORT_LIMIT
from ..state.revocations.receipt import Imported, Level, Receipt
from ..state.revocations.revocations import REVOKE_LIMIT
from ..state.shared import SharedState
from ..state.tokens.verification import VERIFY_LIMIT
from ..times import Duration, Instant, in_seconds
from ..tokens.claims import Verdict
from ..tokens.listing import RevocationList
from ..tokens.note import Note
from .crossing import Crossing
from .importing import Import

if TYPE_CHECKING:
    from ..jwt import VerifiedToken


class Tokens:
    """See `aragora_redis.state.tokens.tokens.Tokens`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def verify(self, token: str, *, within: Duration = VERIFY_LIMIT) -> VerifiedToken:
        """Verify a whole token, and look it up among the revoked ones.

        Does not leave this thread, unless a key has to be asked for.
        """
        within = in_seconds(within, "within")
        known = self._crossing.here.tokens.verification.verify_at_once(token)
        if known is not None:
            return known
        return self._crossing.cross(lambda state: state.tokens.verify(token, within=within), within)

    def is_revoked(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these verified claims is revoked. Does not leave this thread."""
        return self._crossing.here.tokens.is_revoked(claims)

    def verdict(self, claims: Mapping[str, Any]) -> Verdict | None:
        """By which rule a token is revoked, or None. Does not leave this thread."""
        return self._crossing.here.tokens.verdict(claims)

    def stamp(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """What to sign for a login that was checked just now. Does not leave this thread."""
        return self._crossing.here.tokens.stamp(claims)

    def revoked_until(self, expires_at: float) -> float | None:
        """Until when a verified token is to be revoked; None where it is long over."""
        return self._crossing.here.tokens.revoked_until(expires_at)

    def revoke(
        self,
        jti: str,
        *,
        expires_at: Instant,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: Duration = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse one token from now on, until it expires."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke(
                jti,
                expires_at=expires_at,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def revoke_user(
        self,
        user: str,
        *,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: Duration = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens that were issued to a user at or before a moment."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke_user(
                user,
                issued_before=issued_before,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def revoke_family(
        self,
        family: str,
        *,
        issued_before: Instant | None = None,
        reason: str = "",
        actor: str = "",
        level: Level | None = None,
        within: Duration = REVOKE_LIMIT,
    ) -> Receipt:
        """Refuse all tokens of one login, and what was refreshed from it."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke_family(
                family,
                issued_before=issued_before,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def revoke_tenant(
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
        """Refuse all tokens of all users of a tenant; `users` says how many those are."""
        return self._crossing.cross(
            lambda state: state.tokens.revoke_tenant(
                tenant,
                users=users,
                issued_before=issued_before,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def pardon(
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
        """Undo the revocation of exactly one of these, as it stands now."""
        return self._crossing.cross(
            lambda state: state.tokens.pardon(
                jti=jti,
                user=user,
                tenant=tenant,
                family=family,
                reason=reason,
                actor=actor,
                level=level,
                within=within,
            ),
            within,
        )

    def count(self) -> int:
        """How many revocations are kept."""
        return self._crossing.cross(lambda state: state.tokens.count(), IMPORT_LIMIT)

    def list(self, limit: int = 50, *, after: str | None = None) -> RevocationList:
        """A page of the revocations, those first that may be forgotten first."""
        return self._crossing.cross(
            lambda state: state.tokens.list(limit, after=after), IMPORT_LIMIT
        )

    def export_all(self) -> Iterator[bytes]:
        """All revocations as JSON lines of digests, in pieces that belong together."""

        async def begin(state: SharedState) -> AsyncIterator[bytes]:
            return state.tokens.export_all()

        async def piece(_: SharedState) -> bytes | None:
            return await anext(pieces, None)

        pieces = self._crossing.cross(begin, IMPORT_LIMIT)
        while (found := self._crossing.cross(piece, IMPORT_LIMIT)) is not None:
            yield found

    def import_all(
        self,
        lines: Iterable[bytes],
        *,
        reason: str = "",
        actor: str = "",
        within: Duration = IMPORT_LIMIT,
    ) -> Imported:
        """Join what `export_all` wrote; `within` seconds for one step of 1 000 lines."""
        within = in_seconds(within, "within")

        def work(state: SharedState, given: AsyncIterator[bytes]) -> Coroutine[Any, Any, Imported]:
            return state.tokens.import_all(given, reason=reason, actor=actor, within=within)

        return Import(self._crossing, work, within).run(lines)

    def note(self, claims: Mapping[str, Any]) -> Note | None:
        """Who revoked a token and why; None where it is not revoked."""
        return self._crossing.cross(lambda state: state.tokens.note(claims), REVOKE_LIMIT)

    def reason(self, claims: Mapping[str, Any]) -> str | None:
        """The reason given when a token was revoked, where one was and Redis can be asked."""
        return self._crossing.cross(lambda state: state.tokens.reason(claims), REVOKE_LIMIT)
