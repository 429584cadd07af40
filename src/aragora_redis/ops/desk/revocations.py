"""Revocations as the primary holds them: looked up, listed, made and undone by hand."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping
from typing import Any

from ...audit.act import Act
from ...digests import digest_of
from ...state.revocations.receipt import Imported, Receipt
from ...times import Instant
from ...tokens import operations
from ...tokens.claims import ClaimNames, Judge
from ...tokens.entry import SHARDS, Entry, RevocationKind, member_of
from ...tokens.listing import Revocation, RevocationList, told
from ...tokens.operations import ShardKeys
from .desk import Desk, kept


async def held(desk: Desk, members: Collection[bytes]) -> dict[bytes, Entry]:
    """Which of these are revoked and not pardoned, with their greatest scores.

    Raises:
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    ledger = desk.revocations.ledger
    found = await ledger.held(members)
    entries = [Entry(at.day, member, at.score) for member, each in found.items() for at in each]
    undone = await ledger.pardoned(entries, desk.revocations.pardons)
    return {e.member: e for e, gone in zip(entries, undone, strict=True) if not gone}


async def find(desk: Desk, kind: RevocationKind, value: str) -> Revocation | None:
    """The revocation of one token, user, tenant or family, if there is one; raises as `held`."""
    member = member_of(desk.digest_key, kind, value)
    found = (await held(desk, [member])).get(member)
    return None if found is None else await _told(desk, found, kind)


async def find_token(desk: Desk, claims: Mapping[str, Any]) -> Revocation | None:
    """By what a token with these verified claims is refused: itself, or a cut-off.

    Raises:
        InvalidInputError: the claims name none.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    settings = desk.settings.tokens
    judge = Judge(desk.digest_key, ClaimNames(settings.tenant_claim, settings.family_claim))
    asked: list[bytes] = []
    judge.judge(claims, (asked.append,) * SHARDS)  # which it would look at
    found = await held(desk, asked)
    scores = {member: each.score for member, each in found.items()}
    judged = judge.judge(claims, (scores.get,) * SHARDS)
    if judged is None:
        return None
    return await _told(desk, found[judged.member], judged.verdict.kind)


async def listing(desk: Desk, limit: int, after: str | None = None) -> RevocationList:
    """Up to `limit` revocations that matter, those first that may be forgotten first.

    Raises:
        InvalidInputError: no list has told that `after`.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    return await desk.tokens.list(limit, after=after)


def export_all(desk: Desk) -> AsyncIterator[bytes]:
    """All revocations as lines; raises as `Tokens.export_all`."""
    return desk.tokens.export_all()


async def import_all(
    desk: Desk, lines: Iterable[bytes] | AsyncIterable[bytes], *, actor: str, reason: str
) -> Imported:
    """Join exported revocations; raises as `Tokens.import_all`, and as `Desk.act`."""
    act = Act(actor=actor, action="tokens import", target="revocations", reason=reason)
    return await desk.act(act, lambda: desk.tokens.import_all(lines), str)


async def revoke_token(
    desk: Desk, jti: str, *, expires_at: Instant, actor: str, reason: str
) -> Receipt:
    """Refuse one token until it expires; raises as `Tokens.revoke` does, and as `Desk.act`."""
    member = member_of(desk.digest_key, RevocationKind.JTI, jti)

    async def work() -> Receipt:
        await desk.learn([member])
        return kept(
            await desk.tokens.revoke(jti, expires_at=expires_at, reason=reason, actor=actor)
        )

    act = Act(actor=actor, action="tokens revoke", target=f"jti {digest_of(member)}", reason=reason)
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
    member = member_of(desk.digest_key, kind, name)
    given: dict[str, Any] = {"issued_before": issued_before, "reason": reason, "actor": actor}

    async def work() -> Receipt:
        await desk.learn([member])
        match kind:
            case RevocationKind.TENANT:
                done = desk.tokens.revoke_tenant(name, users=users or 0, **given)
            case RevocationKind.FAMILY:
                done = desk.tokens.revoke_family(name, **given)
            case _:
                done = desk.tokens.revoke_user(name, **given)
        return kept(await done)

    target = f"{kind.name.lower()} {digest_of(member)}"
    if users is not None:
        target += f" ({users} users)"
    act = Act(actor=actor, action="tokens revoke", target=target, reason=reason)
    return await desk.act(act, work, _level)


async def pardon(
    desk: Desk, kind: RevocationKind, name: str, *, actor: str, reason: str
) -> Receipt:
    """Undo a revocation, as it stands on the primary; raises as `Tokens.pardon`, and `Desk.act`."""
    member = member_of(desk.digest_key, kind, name)
    named: dict[str, Any] = {kind.name.lower(): name}

    async def work() -> Receipt:
        await desk.learn([member])
        return kept(await desk.tokens.pardon(**named, reason=reason, actor=actor))

    target = f"{kind.name.lower()} {digest_of(member)}"
    act = Act(actor=actor, action="tokens pardon", target=target, reason=reason)
    return await desk.act(act, work, _level)


async def _told(desk: Desk, entry: Entry, kind: RevocationKind) -> Revocation:
    keys = ShardKeys(desk.settings.prefix, entry.member[0] % SHARDS)
    note = await desk.ask(operations.note_of(keys, entry.day, entry.member))
    return told(entry._replace(note=note or ""), kind=kind)


def _level(receipt: Receipt) -> str:
    return receipt.level.word
