"""What sessions ask of Redis."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from ..errors import SessionUnreadableError, UnexpectedReplyError
from ..operation import Argument, Fence, Kind, Lane, Operation
from ..scripts.catalog import load
from . import client as clients
from .client import Client
from .data import FIELD_LIMIT, Fields
from .ids import SessionRef, handle_of
from .policy import OnFull, SessionPolicy
from .sealing import PLAIN, Seal
from .stored import (
    CLIENT,
    DATA,
    USER,
    Answer,
    Change,
    Listed,
    Moved,
    SessionInfo,
    Stored,
    changed,
    read_answer,
    read_hash,
    read_members,
    refuses,
    same,
    text_of,
    with_text,
)

LIST_PAGE = 128
"""Sessions in one call of the list."""


KEYS = 1024
"""Keys of sessions that are remembered."""
_FORGET = b"-"
"""Stands for a client of which nothing is to be stored any more."""
_CAS, _READ, _BULK = Kind.CAS, Kind.READ, Lane.BULK
_PROBE, _STANDING = Fence.PROBE, Fence.STANDING


class Ended(Struct, frozen=True):
    """A session was removed.

    Attributes:
        expires_at: its absolute end, in Unix seconds.
        before: digests of the ids that it had before rotations.
    """

    expires_at: float
    before: tuple[bytes, ...]


class SessionKeys:
    """Where sessions are stored, and how. What belongs to one user shares a hash tag."""

    def __init__(self, prefix: str, seal: Seal = PLAIN) -> None:
        self._base = f"{prefix}:s:".encode()
        self.seal = seal
        # What is read is often written next.
        self.session = lru_cache(KEYS)(self._session)
        """The key of the hash of one session."""

    def _session(self, ref: SessionRef) -> bytes:
        return self._base + b"{s%d}:%b" % (ref.shard, urlsafe_b64encode(ref.member).rstrip(b"="))

    def index(self, user: SessionRef) -> bytes:
        """The sorted set of one user's sessions."""
        return self._base + b"{s%d}:u:%b" % (
            user.shard,
            urlsafe_b64encode(user.member).rstrip(b"="),
        )


def create(
    keys: SessionKeys,
    ref: SessionRef,
    policy: SessionPolicy,
    *,
    user: str | None,
    index: SessionRef | None,
    fields: Fields,
    nonce: str,
    client: Client | None = None,
    cut_off: int = 0,
    replacing: bool = False,
) -> Operation[Answer]:
    """Begin a session under an id that nobody else knows, younger than a cut-off (Unix ms).

    One that replaces another of the user may be one more than there may be, until that has ended.
    """
    args: list[Argument] = [
        ref.member,
        keys.seal.seal(ref.member, USER, user.encode()) if user else b"",
        _micros(policy.idle),
        _micros(policy.absolute),
        _limit(policy, replacing=replacing),
        nonce,
        _sealed_client(keys, ref, client),
        cut_off,
    ]
    args += _sealed(keys, ref, fields)
    return _cas("session_create", _with_index(keys, ref, index), args, _answer_about(keys, ref))


def read(
    keys: SessionKeys, ref: SessionRef, *, held: Stored | None = None, at_once: bool = False
) -> Operation[Answer]:
    """Read a session, which renews its idle time. Of what is `held` only its use is told."""

    def read_session(reply: Any) -> Answer:
        if held is not None and reply[0] == b"same":
            return same(held, reply, ref.member, keys.seal)
        return read_answer(reply, ref.member, keys.seal)

    return Operation(
        kind=_CAS,
        keys=(keys.session(ref),),
        args=(0 if held is None else held.version,),
        read=read_session,
        script=load("session_read"),
        fence=_STANDING,
        lane=_BULK,
        at_once=at_once,
    )


def peek(keys: SessionKeys, ref: SessionRef) -> Operation[Stored | Moved | None]:
    """Read a session without counting that as use."""
    key = keys.session(ref)
    return Operation(
        kind=_READ,
        keys=(key,),
        args=("HGETALL", key),
        read=lambda reply: read_hash(reply, ref.member, keys.seal),
        lane=_BULK,
    )


def update(
    keys: SessionKeys,
    ref: SessionRef,
    *,
    version: int,
    nonce: str,
    exact: bool,
    max_bytes: int,
    fields: Fields,
    removed: Sequence[str],
    client: Client | None = None,
    onto: Stored | None = None,
) -> Operation[Answer]:
    """Change fields, if they are as they were in `version`.

    Without a `client` the one that is stored stays; an unknown one takes its place with nothing.
    Who holds the session as it was in that version, `onto`, is told only what is new.
    """
    texts = _sealed(keys, ref, fields)
    seen_from = b""
    if client is not None:
        seen_from = _FORGET if client == clients.UNKNOWN else _sealed_client(keys, ref, client)
    holds = 0 if onto is None else 1
    args: tuple[Argument, ...] = (
        *(version, nonce, seen_from, holds, len(fields), len(removed)),
        *texts,
        *map(str.encode, removed),
    )
    change = Change(fields, removed, nonce.encode(), texts)

    def read_change(reply: Any) -> Answer:
        if onto is None or reply[0] != b"changed":
            return read_answer(reply, ref.member, keys.seal)
        return changed(onto, reply, ref.member, keys.seal, change)

    return Operation(
        kind=_CAS,
        keys=(keys.session(ref),),
        args=args,
        read=read_change,
        script=load("session_update"),
        shared=("exact" if exact else "merge", max_bytes, FIELD_LIMIT),
        fence=_PROBE,
        lane=_BULK,
        refuses=refuses,
    )


def rotate(
    keys: SessionKeys,
    old: SessionRef,
    new: SessionRef,
    *,
    index: SessionRef | None,
    grace: float,
    stored: Stored | None = None,
) -> Operation[Answer]:
    """Move a session to another id; the old one leads on for `grace` seconds.

    What is sealed opens under its own id only, so it is sealed anew for the other: from `stored`,
    and only if the session still is as it was there.
    """
    moved = (keys.session(old), *_with_index(keys, new, index))
    args: list[Argument] = [old.member, new.member, int(grace * 1000)]
    args += [0, b""] if stored is None else [stored.version, stored.sealed.get(CLIENT, b"")]
    for name, value in stored.sealed.items() if stored else ():
        args += [name, _resealed(keys, old, new, name, value)]
    return _cas("session_rotate", moved, args, _answer_about(keys, new))


def reseal(keys: SessionKeys, ref: SessionRef, stored: Stored) -> Operation[int] | None:
    """Seal with the key of today what is not; that is no change. None where all is."""
    args: list[Argument] = []
    for name, value in stored.sealed.items():
        if keys.seal.stale(text_of(name, value)):
            args += [name, value, _resealed(keys, ref, ref, name, value)]
    if not args:
        return None
    return Operation(
        kind=_CAS,
        keys=(keys.session(ref),),
        args=tuple(args),
        read=int,
        script=load("session_reseal"),
        lane=_BULK,
    )


def end(
    keys: SessionKeys, ref: SessionRef, *, index: SessionRef | None, nonce: str, version: int = 0
) -> Operation[Ended | Answer]:
    """Remove a session; with a version, only if it has that one."""
    return Operation(
        kind=_CAS,
        keys=_with_index(keys, ref, index),
        args=(ref.member, version, nonce),
        read=_read_ended,
        script=load("session_end"),
        fence=_PROBE,
        lane=_BULK,
    )


def of_user(keys: SessionKeys, user: SessionRef) -> Operation[tuple[tuple[bytes, float], ...]]:
    """The digests of a user's sessions and their absolute ends (Unix seconds), in their order."""
    return Operation(
        kind=_READ,
        keys=(keys.index(user),),
        args=(),
        read=_read_index,
        script=load("session_index"),
        fence=_STANDING,
        lane=_BULK,
    )


def look(keys: SessionKeys, user: SessionRef, members: Sequence[bytes]) -> Operation[Listed]:
    """Which of a user's sessions live; at most `LIST_PAGE` of them."""

    def read_list(reply: Any) -> Listed:
        try:
            now, listed = reply
            infos = [
                _info(keys, member, found) for member, found in zip(members, listed, strict=True)
            ]
            before = [read_members(found[-1]) if found else () for found in listed]
            return Listed(int(now) / 1e6, infos, before)
        except (TypeError, ValueError) as error:
            raise UnexpectedReplyError("a list of sessions cannot be read") from error

    refs = [SessionRef(user.shard, member) for member in members]
    return Operation(
        kind=_CAS,
        keys=(keys.index(user), *(keys.session(ref) for ref in refs)),
        args=tuple(members),
        read=read_list,
        script=load("session_list"),
        fence=_STANDING,
        lane=_BULK,
    )


def _cas(
    script: str,
    named: tuple[bytes, ...],
    args: list[Argument],
    read: Callable[[Any], Answer],
) -> Operation[Answer]:
    return Operation(
        kind=_CAS,
        keys=named,
        args=tuple(args),
        read=read,
        script=load(script),
        fence=_PROBE,
        lane=_BULK,
        refuses=refuses,
    )


def _answer_about(keys: SessionKeys, ref: SessionRef) -> Callable[[Any], Answer]:
    return lambda reply: read_answer(reply, ref.member, keys.seal)


def _sealed(keys: SessionKeys, ref: SessionRef, fields: Fields) -> list[bytes]:
    """Name and stored text of each field."""
    args: list[bytes] = []
    for name, text in fields.items():
        encoded = name.encode()
        args += [encoded, keys.seal.seal(ref.member, DATA + encoded, text)]
    return args


def _sealed_client(keys: SessionKeys, ref: SessionRef, client: Client | None) -> bytes:
    text = clients.write(client)
    return keys.seal.seal(ref.member, CLIENT, text) if text else b""


def _resealed(
    keys: SessionKeys, old: SessionRef, new: SessionRef, name: bytes, value: bytes
) -> bytes:
    text = keys.seal.open(old.member, name, text_of(name, value))
    return with_text(name, value, keys.seal.seal(new.member, name, text))


def _with_index(keys: SessionKeys, ref: SessionRef, index: SessionRef | None) -> tuple[bytes, ...]:
    return (keys.session(ref),) if index is None else (keys.session(ref), keys.index(index))


def _limit(policy: SessionPolicy, *, replacing: bool) -> int:
    if not policy.max_per_user or policy.on_full is not OnFull.REFUSE:
        return 0
    return policy.max_per_user + replacing


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _read_ended(reply: Any) -> Ended | Answer:
    if isinstance(reply, list) and len(reply) == 4 and reply[0] == b"ended":
        if type(reply[2]) is not int:
            raise UnexpectedReplyError("the end of a session has no time")
        return Ended(reply[2] / 1e6, read_members(reply[3]))
    return read_answer(reply)


def _read_index(reply: Any) -> tuple[tuple[bytes, float], ...]:
    try:
        return tuple(
            (bytes(member), int(ends) / 1e6)
            for member, ends in zip(reply[::2], reply[1::2], strict=True)
        )
    except (TypeError, ValueError) as error:
        raise UnexpectedReplyError("the index of a user's sessions cannot be read") from error


def _info(keys: SessionKeys, member: bytes, found: list[Any]) -> SessionInfo | None:
    if not found:
        return None
    *instants, stored, _ = found
    created, expires, unused, seen = (int(instant) / 1e6 for instant in instants)
    try:
        client = clients.read(keys.seal.open(member, CLIENT, stored)) if stored else Client()
    except SessionUnreadableError:
        client = Client()  # it is listed all the same, to be ended
    return SessionInfo(
        handle_of(member), created, expires, unused, seen, client.device, client.address
    )
