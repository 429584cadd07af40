"""A session as Redis holds it, and as it is handed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import UnexpectedReplyError
from ..tokens.entry import DIGEST_BYTES
from . import client as clients
from .client import UNKNOWN, Client
from .data import Fields, decode
from .ids import SessionRef, handle_of
from .sealing import PLAIN, Seal

Source = Literal["redis", "local", "copy"]

USER = b"u"
CLIENT = b"w"
DATA = b"d:"
"""What begins the name of a field of data in the hash."""


class Session(Struct, frozen=True):
    """One session, as it was when it was read.

    Attributes:
        id: what the client presents; None where it was reached through the alias of a rotated id.
        user: whose it is; None for nobody known.
        data: its fields, a copy of the reader's own.
        version: what an update names as the version it has read.
        created_at: Unix seconds.
        expires_at: Unix seconds of its absolute end.
        idle: seconds without use after which it ends.
        source: `local` where there is no Redis; `copy` where it could not be asked, and a copy of
            the last seconds was given.
        ref: where it is stored.
        before: digests of the ids that it had before rotations, which end with it.
        seen_at: Unix seconds of its last use, exact to a hundredth of the idle time.
        client: where it is used from, as far as that is kept.
    """

    id: str | None
    user: str | None
    data: dict[str, Any]
    version: int
    created_at: float
    expires_at: float
    idle: float
    source: Source
    ref: SessionRef
    before: tuple[bytes, ...]
    seen_at: float
    client: Client

    def __repr__(self) -> str:
        return f"<Session {self.handle}>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("handle", self.handle)]

    @property
    def handle(self) -> str:
        """What names it in the list of its user's sessions; it opens nothing."""
        return handle_of(self.ref.member)


class Stored(Struct, frozen=True, eq=False, gc=False):
    """The hash of a session, read."""

    user: str | None
    version: int
    created_at: float
    expires_at: float
    idle: float
    fields: Fields
    before: tuple[bytes, ...]
    client: Client = UNKNOWN
    seen_at: float = 0.0
    sealed: Mapping[bytes, bytes] = field(default_factory=dict)
    """What is sealed of it, as it lies in Redis; empty where nothing is to be."""
    told_at: float = 0.0
    """The server's clock as it answered, in Unix seconds."""
    whole_at: float = 0.0
    """The same when all of it was last told, and not only what had changed."""
    size: int = 0
    """Bytes of its data, as they lie in Redis."""

    def __eq__(self, other: object) -> bool:
        """Whether both say the same: its use changes nothing, nor how it is sealed."""
        return isinstance(other, Stored) and self._said == other._said

    def __hash__(self) -> int:
        return hash((self.version, self.created_at))

    @property
    def _said(self) -> tuple[object, ...]:
        instants = (self.created_at, self.expires_at, self.idle)
        return self.user, self.version, instants, self.fields, self.before, self.client

    def __repr__(self) -> str:
        return f"Stored(version={self.version})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("version", self.version)]

    def is_stale(self, seal: Seal) -> bool:
        """Whether any of it would be sealed otherwise now."""
        sealed = self.sealed
        return bool(sealed) and any(seal.stale(text_of(*each)) for each in sealed.items())

    def session(self, ref: SessionRef, *, named: str | None, source: Source) -> Session:
        """The session for a caller, with data of its own."""
        return Session(
            id=named,
            user=self.user,
            data=decode(self.fields),
            version=self.version,
            created_at=self.created_at,
            expires_at=self.expires_at,
            idle=self.idle,
            source=source,
            ref=ref,
            before=self.before,
            seen_at=self.seen_at,
            client=self.client,
        )


class SessionInfo(NamedTuple):
    """What may be shown of a session in a list, see `Session`. Instants are Unix seconds."""

    handle: str
    created_at: float
    expires_at: float
    idle_until: float
    seen_at: float
    device: str | None
    address: str | None


class Listed(NamedTuple):
    """Some sessions as they are listed.

    Attributes:
        now: the server's time in Unix seconds.
        infos: what may be shown of each, None for what does not live.
        before: the digests that each had before rotations.
    """

    now: float
    infos: list[SessionInfo | None]
    before: list[tuple[bytes, ...]]


class Moved(NamedTuple):
    """The id was rotated: the session is stored under another digest of the same slot."""

    member: bytes


class Full(Struct, frozen=True):
    """The user has too many sessions; these end first, as many as are too many."""

    first: tuple[bytes, ...]


Refusal = Literal["gone", "conflict", "large"]
Answer = Stored | Moved | Full | Refusal


def refuses(answer: Answer) -> bool:
    """Whether it says that nothing was changed."""
    return isinstance(answer, str | Full)


def read_answer(reply: Any, member: bytes = b"", seal: Seal = PLAIN) -> Answer:
    """What a script about the session of a member has answered.

    Raises:
        UnexpectedReplyError: the reply is none of those that the scripts give.
        SessionUnreadableError: what is stored cannot be opened.
    """
    try:
        return _read(reply, member, seal)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise UnexpectedReplyError("the answer about a session cannot be read") from error


def read_hash(reply: Any, member: bytes, seal: Seal) -> Stored | Moved | None:
    """A session's hash as it is stored; None where there is none. Raises as `read_answer` does."""
    try:
        flat = reply
        if isinstance(reply, dict):  # RESP3 has maps, RESP2 has not
            flat = [part for pair in reply.items() for part in pair]
        if not flat:
            return None
        if flat[0] == b"to":
            return Moved(_member(flat[1]))
        # Of one that has just ended a trace is left, see session_end.lua.
        return None if b"by" in flat[::2] else _stored(flat, 0, member, seal)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise UnexpectedReplyError("a stored session cannot be read") from error


def same(held: Stored, reply: Any, member: bytes, seal: Seal) -> Stored:
    """A session that nobody has changed since it was as it is held, as it is used by now."""
    _, now, seen, client = reply
    return replace(
        held,
        client=clients.read(seal.open(member, CLIENT, client)) if client else UNKNOWN,
        seen_at=seen / 1e6,
        told_at=now / 1e6,
    )


class Change(Struct, frozen=True, gc=False):
    """An update, as it was sent.

    Attributes:
        fields: new values.
        removed: names of fields.
        nonce: its own.
        texts: name and stored text of each new value.
    """

    fields: Fields
    removed: Sequence[str]
    nonce: bytes
    texts: Sequence[bytes]

    def __repr__(self) -> str:
        return f"<Change of {len(self.fields)} fields, without {len(self.removed)}>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # A Struct has one of its own, which tells what the session holds.
        return [("fields", len(self.fields)), ("removed", len(self.removed))]


def changed(onto: Stored, reply: Any, member: bytes, seal: Seal, change: Change) -> Stored:
    """What an update has made of a session that nobody else had changed."""
    _, now, version, client, size = reply
    fields = onto.fields | change.fields
    for name in change.removed:
        fields.pop(name, None)
    return Stored(
        user=onto.user,
        version=int(version),
        created_at=onto.created_at,
        expires_at=onto.expires_at,
        idle=onto.idle,
        fields=fields,
        before=onto.before,
        client=clients.read(seal.open(member, CLIENT, client)) if client else UNKNOWN,
        seen_at=now / 1e6,
        sealed=_sealed_after(onto, change, version, client) if seal.on else {},
        told_at=now / 1e6,
        whole_at=onto.whole_at,
        size=size,
    )


def _sealed_after(
    onto: Stored, change: Change, version: bytes, client: bytes
) -> dict[bytes, bytes]:
    sealed = {**onto.sealed, CLIENT: client}
    for name, text in zip(change.texts[::2], change.texts[1::2], strict=True):
        sealed[DATA + name] = b"%b %b %b" % (version, change.nonce, text)
    for removed in change.removed:
        sealed.pop(DATA + removed.encode(), None)
    return {name: value for name, value in sealed.items() if value}


def _read(reply: Any, member: bytes, seal: Seal) -> Answer:
    match reply[0]:
        case b"session":
            return _stored(reply[2], reply[1], member, seal)
        case b"moved":
            return Moved(_member(reply[2]))
        case b"full":
            return Full(tuple(_member(member) for member in reply[2]))
        case b"gone":
            return "gone"
        case b"conflict":
            return "conflict"
        case b"large":
            return "large"
    raise ValueError("an unknown word")


def read_members(joined: bytes) -> tuple[bytes, ...]:
    """Digests of ids that were written behind each other."""
    return tuple(
        _member(joined[start : start + DIGEST_BYTES])
        for start in range(0, len(joined), DIGEST_BYTES)
    )


def _member(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES:
        raise ValueError("the digest of an id has 16 bytes")
    return value


def _stored(flat: list[bytes], now: int, member: bytes, seal: Seal) -> Stored:
    each = iter(flat)
    raw: Mapping[bytes, bytes] = dict(zip(each, each, strict=True))
    fields: Fields = {}
    sealed: dict[bytes, bytes] = {}
    for name, value in raw.items():
        if name[:2] == DATA and (text := text_of(name, value)):
            fields[name[2:].decode()] = seal.open(member, name, text)
            sealed[name] = value
    user, client, before = raw[USER], raw.get(CLIENT, b""), raw.get(b"p")
    if user:
        sealed[USER], user = user, seal.open(member, USER, user)
    if client:
        sealed[CLIENT], client = client, seal.open(member, CLIENT, client)
    return Stored(
        user=user.decode() or None,
        version=int(raw[b"v"]),
        created_at=int(raw[b"c"]) / 1e6,
        expires_at=int(raw[b"a"]) / 1e6,
        idle=int(raw[b"i"]) / 1e6,
        fields=fields,
        before=read_members(before) if before else (),
        client=clients.read(client),
        seen_at=int(raw.get(b"t", raw[b"c"])) / 1e6,
        sealed=sealed if seal.on else {},
        told_at=now / 1e6,
        whole_at=now / 1e6,
        size=int(raw.get(b"b", 0)),
    )


def text_of(name: bytes, value: bytes) -> bytes:
    """What is sealed, or would be, of a hash's field: of data it comes after version and nonce."""
    return value.split(b" ", 2)[2] if name[:2] == DATA else value


def with_text(name: bytes, value: bytes, text: bytes) -> bytes:
    """The field of a hash with another text in it."""
    if not name.startswith(DATA):
        return text
    version, nonce, _ = value.split(b" ", 2)
    return b"%b %b %b" % (version, nonce, text)
