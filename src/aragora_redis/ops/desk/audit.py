"""The record of what operators did: one stream in Redis, bounded, that holds digests and no ids.

An act is recorded twice: as `begun` before it is done, and with its outcome after.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ...errors import InvalidInputError, UnexpectedReplyError
from ...names import validate_text
from ...operation import Kind, Lane, Operation

KEPT = 20_000
"""Records that are kept, about, which is half as many acts: older ones make room."""
ACTOR_LIMIT = 100
REASON_LIMIT = 200
BEGUN = "begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that an operator did.

    Attributes:
        actor: who did it, as they named themselves: Redis does not know them.
        action: the command, such as `tokens revoke`.
        target: a name, or the digest of what may not be shown, see `digest_of`.
        reason: why, in the operator's words.
        outcome: what became of it; `begun` where nobody could tell any more.
        id: tells this act from others.
    """

    actor: str = ""
    action: str = ""
    target: str = ""
    reason: str = ""
    outcome: str = BEGUN
    id: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Recorded:
    """An act, and when the primary first recorded it (Unix seconds)."""

    at: float
    act: Act

    def as_dict(self) -> dict[str, Any]:
        """The record for JSON."""
        return {"at": self.at} | asdict(self.act)


def validate_signature(actor: str, reason: str) -> None:
    """Accept who acts, and why.

    Raises:
        InvalidInputError: one of them is missing, too long, or more than one line of text.
    """
    for text, what, most in ((actor, "an actor", ACTOR_LIMIT), (reason, "a reason", REASON_LIMIT)):
        validate_text(text, what, most=most)
        if not text.isprintable():
            raise InvalidInputError(f"{what} holds a control character")


def record(prefix: str, act: Act) -> Operation[None]:
    """Append what is known of an act."""
    parts = [part for pair in asdict(act).items() for part in pair]
    key = _key(prefix)
    return Operation(
        kind=Kind.JOIN,  # a second copy is told as one act, by its id
        keys=(key,),
        args=("XADD", key, "MAXLEN", "~", KEPT, "*", *parts),
        read=lambda _reply: None,
        # Before the act on the connection whose WAIT will speak for both.
        lane=Lane.DURABLE,
    )


def recent(prefix: str, count: int) -> Operation[list[Recorded]]:
    """The last `count` acts or more, the newest first."""
    key = _key(prefix)
    return Operation(
        kind=Kind.READ,
        keys=(key,),
        args=("XREVRANGE", key, "+", "-", "COUNT", 2 * count),
        read=_read,
        lane=Lane.BULK,
    )


def _key(prefix: str) -> bytes:
    return f"{prefix}:audit".encode()


_NAMES = frozenset(each.name for each in fields(Act))


def _read(reply: Any) -> list[Recorded]:
    try:
        records = []
        for record_id, flat in reply:
            texts = [part.decode("utf-8", "replace") for part in flat]
            named = dict(zip(texts[::2], texts[1::2], strict=True))
            known = {name: text for name, text in named.items() if name in _NAMES}
            at = int(record_id.partition(b"-")[0]) / 1000
            records.append(Recorded(at, Act(**({"id": record_id.decode()} | known))))
    except (TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("a record of what operators did cannot be read") from error
    return _acts(records)


def _acts(records: Iterable[Recorded]) -> list[Recorded]:
    """One for each act: its latest outcome, at its earliest time. `records` are newest first."""
    found: dict[str, Recorded] = {}
    for each in records:
        later = found.get(each.act.id, each)
        found[each.act.id] = Recorded(each.at, later.act)
    return list(found.values())
