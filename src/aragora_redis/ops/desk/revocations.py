"""Revocations as the primary holds them: looked up, listed and made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ...state.receipt import Instant, Receipt
from ...tokens import operations
from ...tokens.claims import Verdict, judge
from ...tokens.entry import DAY, SHARDS, RevocationKind, member_of
from ...tokens.operations import ShardKeys
from .audit import Act, digest_of
from .desk import Desk, kept


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. Instants are Unix seconds.

    Attributes:
        digest: stands for what is revoked.
        what: `token` (or an ended session, which looks alike), or `user`.
        moment: when the token ends by itself; or up to when a user's tokens are refused.
        reason: as it was given.
    """

    digest: str
    what: str
    moment: float
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Listing:
    """Some revocations, and how many are kept, those of today that are over by now included."""

    total: int
    shown: tuple[Revocation, ...]

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return asdict(self)


class Held(NamedTuple):
    """Where a member stands: its day and its score."""

    day: int
    score: int


async def days_of(desk: Desk) -> dict[int, dict[int, int]]:
    """For each shard how many members each of its days has, of those that are not over.

    Raises:
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    today = int(desk.server_now() // DAY)
    keys = [_keys(desk, shard) for shard in range(SHARDS)]
    standings = await desk.ask_all([operations.standing(each) for each in keys])
    used = [shard for shard, standing in enumerate(standings) if standing is not None]
    heads = await desk.ask_all([operations.survey(keys[shard]) for shard in used])
    return {
        shard: {day: digest.size for day, digest in head.digests.items() if day >= today}
        for shard, head in zip(used, heads, strict=True)
    }


async def held(desk: Desk, members: Iterable[bytes]) -> dict[bytes, Held]:
    """Which of these are revoked, with their greatest scores; raises as `days_of` does."""
    days = await days_of(desk)
    asked = [
        (member, day)
        for member in dict.fromkeys(members)
        for day in days.get(member[0] % SHARDS, ())
    ]
    scores = await desk.ask_all(
        [operations.score_of(_keys(desk, member[0] % SHARDS), day, member) for member, day in asked]
    )
    found: dict[bytes, Held] = {}
    for (member, day), score in zip(asked, scores, strict=True):
        if score is not None and score > found.get(member, Held(0, -1)).score:
            found[member] = Held(day, score)
    return found


async def find(desk: Desk, kind: RevocationKind, value: str) -> Revocation | None:
    """What the primary holds of one token or user by itself; None where it is not revoked.

    Raises:
        InvalidInputError: no id can be that.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    member = member_of(desk.digest_key, kind, value)
    found = (await held(desk, [member])).get(member)
    return None if found is None else await _told(desk, member, found, kind)


async def find_token(desk: Desk, claims: Mapping[str, Any]) -> Revocation | None:
    """By what a token with these verified claims is refused: itself, or its user's cut-off.

    Raises:
        InvalidInputError: the claims name neither.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    names = {RevocationKind.JTI: claims.get("jti"), RevocationKind.USER: claims.get("sub")}
    members = {
        kind: member_of(desk.digest_key, kind, name)
        for kind, name in names.items()
        if isinstance(name, str)
    }
    found = await held(desk, members.values())
    scores = {member: each.score for member, each in found.items()}
    verdict = judge(claims, desk.digest_key, scores.get)
    if verdict is None:
        return None
    kind = RevocationKind.JTI if verdict is Verdict.JTI else RevocationKind.USER
    return await _told(desk, members[kind], found[members[kind]], kind)


async def listing(desk: Desk, limit: int) -> Listing:
    """Up to `limit` revocations that matter, those first that may be forgotten first.

    Raises:
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    days = await days_of(desk)
    total = sum(size for sizes in days.values() for size in sizes.values())
    rows: list[tuple[int, int, bytes]] = []
    for day in sorted({day for sizes in days.values() for day in sizes}):
        rows += sorted(await _of_day(desk, day, [s for s in days if day in days[s]], limit))
        if len(rows) >= limit:
            break
    rows = rows[:limit]
    notes = await desk.ask_all(
        [
            operations.note_of(_keys(desk, member[0] % SHARDS), day, member)
            for day, _, member in rows
        ]
    )
    return Listing(
        total,
        tuple(
            Revocation(digest_of(member), _guessed(day, score), score / 1000, note or None)
            for (day, score, member), note in zip(rows, notes, strict=True)
        ),
    )


async def revoke_token(
    desk: Desk, jti: str, *, expires_at: Instant, actor: str, reason: str
) -> Receipt:
    """Refuse one token until it expires; raises as `Tokens.revoke` does, and as `Desk.act`."""

    async def work() -> Receipt:
        return kept(await desk.tokens.revoke(jti, expires_at=expires_at, reason=reason))

    target = f"jti {digest_of(member_of(desk.digest_key, RevocationKind.JTI, jti))}"
    act = Act(actor=actor, action="tokens revoke", target=target, reason=reason)
    return await desk.act(act, work, _level)


async def revoke_user(
    desk: Desk, user: str, *, issued_before: Instant | None, actor: str, reason: str
) -> Receipt:
    """Refuse all that a user was issued; raises as `Tokens.revoke_user` does, and as `Desk.act`."""

    async def work() -> Receipt:
        return kept(await desk.tokens.revoke_user(user, issued_before=issued_before, reason=reason))

    target = f"user {digest_of(member_of(desk.digest_key, RevocationKind.USER, user))}"
    act = Act(actor=actor, action="tokens revoke", target=target, reason=reason)
    return await desk.act(act, work, _level)


async def _of_day(
    desk: Desk, day: int, shards: list[int], limit: int
) -> list[tuple[int, int, bytes]]:
    """Day, score and member of what ends first on a day; of today only what is not over."""
    now = int(desk.server_now() * 1000)
    begins = day * DAY * 1000
    # What has a score of an earlier day is a user's cut-off, which is kept for longer.
    spans = [(0, begins - 1), (max(begins, now), 2**53)]
    pages = await desk.ask_all(
        [
            operations.first_of_day(_keys(desk, shard), day, low, high, limit)
            for shard in shards
            for low, high in spans
        ]
    )
    return [(day, score, member) for page in pages for member, score in page.items()]


async def _told(desk: Desk, member: bytes, found: Held, kind: RevocationKind) -> Revocation:
    note = await desk.ask(operations.note_of(_keys(desk, member[0] % SHARDS), found.day, member))
    what = "user" if kind is RevocationKind.USER else "token"
    return Revocation(digest_of(member), what, found.score / 1000, note or None)


def _guessed(day: int, score: int) -> str:
    return "token" if day == score // 1000 // DAY else "user"


def _level(receipt: Receipt) -> str:
    return receipt.level.word


def _keys(desk: Desk, shard: int) -> ShardKeys:
    return ShardKeys(desk.settings.prefix, shard)
