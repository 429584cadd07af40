"""Sessions as the primary holds them: looked at, which counts as no use, and ended by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...audit.act import Act
from ...digests import digest_of
from ...errors import SessionGoneError
from ...sessions import operations
from ...sessions.client import Client
from ...sessions.ids import (
    SessionRef,
    all_sessions,
    handle_of,
    member_of_handle,
    parse_id,
    sessions_of,
    user_ref,
)
from ...sessions.stored import Moved, Stored
from ...state.revocations.receipt import Receipt
from ...state.sessions.endable import EndedSessions
from ...state.sessions.held_ends import began
from ...state.sessions.store import HOPS
from ...tokens.entry import MEMBER_BYTES
from .desk import Desk, kept
from .revocations import held


@dataclass(frozen=True, slots=True)
class Shown:
    """What may be shown of a session. Instants are Unix seconds.

    Attributes:
        handle: names it, and opens nothing.
        fields: names of its data; values are its user's.
    """

    handle: str
    created_at: float
    expires_at: float
    version: int
    size: int
    fields: tuple[str, ...]
    seen_at: float
    client: Client

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return {
            "handle": self.handle,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "version": self.version,
            "bytes": self.size,
            "fields": list(self.fields),
            "seen_at": self.seen_at,
            "device": self.client.device,
            "address": self.client.address,
        }


async def of_user(desk: Desk, user: str) -> list[Shown]:
    """The sessions of a user that live, the oldest first.

    Raises:
        InvalidInputError: no user can be that.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    home = user_ref(desk.digest_key, user)
    index = await desk.ask(operations.of_user(desk.session_keys, home))
    refs = [SessionRef(home.shard, member) for member, _ in index]
    found = await desk.ask_all([operations.peek(desk.session_keys, ref) for ref in refs])
    ended = await _ended_of(desk, [ref.member for ref in refs], home)
    return [
        _shown(ref, each)
        for ref, each in zip(refs, found, strict=True)
        if isinstance(each, Stored) and not ended(ref, each)
    ]


async def look(desk: Desk, session_id: str) -> Shown:
    """The session of an id, by whatever id it has now.

    Raises:
        SessionGoneError: it has ended, or never was.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    ref = _ref(desk, session_id)
    for _ in range(HOPS):
        found = await desk.ask(operations.peek(desk.session_keys, ref))
        if isinstance(found, Moved):
            ref = ref.moved(found.member)
            continue
        if isinstance(found, Stored):
            home = user_ref(desk.digest_key, found.user) if found.user else None
            if not (await _ended_of(desk, [ref.member], home))(ref, found):
                return _shown(ref, found)
        break
    raise SessionGoneError("there is no such session", remedy="it has ended, or never was")


async def end(desk: Desk, session_id: str, *, actor: str, reason: str) -> Receipt:
    """End one session for good; raises as `look` does, and as `Desk.act`."""

    async def work() -> Receipt:
        return kept(await desk.sessions.end(session_id))

    act = _act(actor, f"session {digest_of(_ref(desk, session_id).member)}", reason)
    return await desk.act(act, work, lambda receipt: receipt.level.word)


async def end_handle(desk: Desk, user: str, handle: str, *, actor: str, reason: str) -> Receipt:
    """End the one of a user's sessions that a handle names; raises as `look` and `Desk.act` do."""

    async def work() -> Receipt:
        return kept((await desk.sessions.end_one_of(user, handle)).receipt)

    act = _act(actor, f"session {_digest_of_handle(handle)}", reason)
    return await desk.act(act, work, lambda receipt: receipt.level.word)


async def end_user(desk: Desk, user: str, *, actor: str, reason: str) -> EndedSessions:
    """End all that a user has; raises as `of_user` does, and as `Desk.act`."""
    home = user_ref(desk.digest_key, user)

    async def work() -> EndedSessions:
        await desk.learn(_cut_offs(desk, home))
        ended = await desk.sessions.end_user(user)
        kept(ended.receipt)
        return ended

    act = _act(actor, f"sessions of user {digest_of(home.member)}", reason)
    return await desk.act(act, work, str)


async def end_all(desk: Desk, *, actor: str, reason: str) -> Receipt:
    """End all sessions of everybody that exist now; raises as `Desk.act`."""

    async def work() -> Receipt:
        await desk.learn(_cut_offs(desk, None))
        return kept(await desk.sessions.end_all())

    act = _act(actor, "sessions of everybody", reason)
    return await desk.act(act, work, lambda receipt: receipt.level.word)


async def _ended_of(
    desk: Desk, members: list[bytes], home: SessionRef | None
) -> Callable[[SessionRef, Stored], bool]:
    """Tells which of these have ended, by themselves, with all, or with all of their user."""
    cut_offs = _cut_offs(desk, home)
    scores = await held(desk, [*(each[:MEMBER_BYTES] for each in members), *cut_offs])
    cut_off = max((scores[each].score for each in cut_offs if each in scores), default=0)

    def ended(ref: SessionRef, stored: Stored) -> bool:
        return ref.member[:MEMBER_BYTES] in scores or began(stored.created_at) <= cut_off

    return ended


def _cut_offs(desk: Desk, home: SessionRef | None) -> list[bytes]:
    """What is joined where all of everybody, or of a user, end: the next comes after the last."""
    cut_offs = [all_sessions(desk.digest_key)]
    return [*cut_offs, sessions_of(desk.digest_key, home)] if home else cut_offs


def _digest_of_handle(handle: str) -> str:
    member = member_of_handle(handle)
    if member is None:
        raise SessionGoneError("that is no handle", remedy="`sessions list` shows those of a user")
    return digest_of(member)


def _act(actor: str, target: str, reason: str) -> Act:
    return Act(actor=actor, action="sessions end", target=target, reason=reason)


def _ref(desk: Desk, session_id: str) -> SessionRef:
    ref = parse_id(desk.digest_key, session_id)
    if ref is None:
        raise SessionGoneError(
            "that is no session id", remedy="give the whole id, as the cookie or client has it"
        )
    return ref


def _shown(ref: SessionRef, stored: Stored) -> Shown:
    return Shown(
        handle_of(ref.member),
        stored.created_at,
        stored.expires_at,
        stored.version,
        stored.size,
        tuple(sorted(stored.fields)),
        stored.seen_at,
        stored.client,
    )
