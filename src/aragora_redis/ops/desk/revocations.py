"""Revocations as the primary holds them: looked up, listed and made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ...state.receipt import Instant, Receipt
from ...tokens import operations
from ...tokens.claims import ClaimNames, judge
from ...tokens.entry import DAY, SHARDS, RevocationKind, member_of
from ...tokens.note import Note
from ...tokens.operations import ShardKeys
from .audit import Act, digest_of
from .desk import Desk, kept

_WORDS = {
    RevocationKind.JTI: "token",
    RevocationKind.USER: "user",
    RevocationKind.TENANT: "tenant",
    RevocationKind.FAMILY: "family",
    RevocationKind.SESSION: "session",
}


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. Instants are Unix seconds.

    Attributes:
        digest: stands for what is revoked.
        what: `token` (or an ended session, which looks alike), `user`, `tenant` or `family`.
        moment: when the token ends by itself; or up to when tokens that were issued are refused.
        reason: as it was given.
        actor: who did it, as they named themselves.
    """

    digest: str
    what: str
    moment: float
    reason: str | None = None
    actor: str | None = None

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
    """By what a token with these verified claims is refused: itself, or a cut-off.

    Raises:
        InvalidInputError: the claims name neither.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    settings = desk.settings.tokens
    names = ClaimNames(settings.tenant_claim, settings.family_claim)
    asked: list[bytes] = []
    judge(claims, desk.digest_key, asked.append, names)  # which it would look at
    found = await held(desk, asked)
    scores = {member: each.score for member, each in found.items()}
    judged = judge(claims, desk.digest_key, scores.get, names)
    if judged is None:
        return None
    return await _told(desk, judged.member, found[judged.member], judged.verdict.kind)


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
            _of(member, day, score, Note.read(note))
            for (day, score, member), note in zip(rows, notes, strict=True)
        ),
    )


async def revoke_token(
    desk: Desk, jti: str, *, expires_at: Instant, actor: str, reason: str
) -> Receipt:
    """Refuse one token until it expires; raises as `Tokens.revoke` does, and as `Desk.act`."""

    async def work() -> Receipt:
        return kept(
            await desk.tokens.revoke(jti, expires_at=expires_at, reason=reason, actor=actor)
        )

    target = f"jti {digest_of(member_of(desk.digest_key, RevocationKind.JTI, jti))}"
    act = Act(actor=actor, action="tokens revoke", target=target, reason=reason)
    return await desk.act(act, work, _level)


async def cut_off(
    desk: Desk,
    kind: RevocationKind,
    name: str,
    *,
    issued_before: Instant | None,
    users: int | None = None,
    actor: str,
    reason: str,
) -> Receipt:
    """Refuse all that a user, tenant or family was issued.

    Raises as `Tokens.revoke_user` does, and as `Desk.act`. A tenant needs `users`.
    """
    given: dict[str, Any] = {"issued_before": issued_before, "reason": reason, "actor": actor}

    async def work() -> Receipt:
        match kind:
            case RevocationKind.TENANT:
                done = desk.tokens.revoke_tenant(name, users=users or 0, **given)
            case RevocationKind.FAMILY:
                done = desk.tokens.revoke_family(name, **given)
            case _:
                done = desk.tokens.revoke_user(name, **given)
        return kept(await done)

    target = f"{kind.name.lower()} {digest_of(member_of(desk.digest_key, kind, name))}"
    if users is not None:
        target += f" ({users} users)"
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
    return _of(member, found.day, found.score, Note.read(note)._replace(kind=kind))


def _of(member: bytes, day: int, score: int, note: Note) -> Revocation:
    what = _WORDS.get(note.kind) if note.kind is not None else None
    return Revocation(
        digest_of(member),
        what or _guessed(day, score),
        score / 1000,
        note.reason or None,
        note.actor or None,
    )


def _guessed(day: int, score: int) -> str:
    return "token" if day == score // 1000 // DAY else "user"


def _level(receipt: Receipt) -> str:
    return receipt.level.word


def _keys(desk: Desk, shard: int) -> ShardKeys:
    return ShardKeys(desk.settings.prefix, shard)
