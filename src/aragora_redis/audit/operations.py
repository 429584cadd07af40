"""The stream of records in Redis: bounded, one for the fleet."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import asdict

from ..errors import InvalidInputError, UnexpectedReplyError
from ..operation import Kind, Lane, Operation
from .act import Act
from .page import Record

KEPT = 20_000
"""Records that are kept, about: older ones make room. The command line makes two of an act."""
_FAR = 1e11
"""Unix seconds beyond which an instant is none."""
_PLACE = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_NAMES = frozenset(Act.__struct_fields__)


def record(prefix: str, act: Act, lane: Lane) -> Operation[None]:
    """Append what is known of an act."""
    texts = asdict(act) | {"at": f"{act.at:.3f}"}
    parts = [part for pair in texts.items() for part in pair]
    key = _key(prefix)
    return Operation(
        kind=Kind.JOIN,  # a second copy is told as one act, by its id
        keys=(key,),
        args=("XADD", key, "MAXLEN", "~", KEPT, "*", *parts),
        read=lambda _reply: None,
        lane=lane,
    )


def earlier(prefix: str, before: str | None, count: int) -> Operation[list[Record]]:
    """Up to `count` records before a place, or the last ones; the newest first.

    Raises:
        InvalidInputError: `before` is no place in the stream.
    """
    until = "+" if before is None else f"({valid_place(before)}"
    return _reading(prefix, "XREVRANGE", until, "-", count)


def later(prefix: str, since: str, count: int) -> Operation[list[Record]]:
    """Up to `count` records from a place on, the oldest first.

    Raises:
        InvalidInputError: `since` is no place in the stream.
    """
    return _reading(prefix, "XRANGE", valid_place(since), "+", count)


def valid_place(text: str) -> str:
    """A place in the stream, as a page tells it.

    Raises:
        InvalidInputError: it is none.
    """
    if not _PLACE.fullmatch(text) or max(map(int, text.split("-"))) >= 2**64:
        raise InvalidInputError(
            "`before` is no place in the record", remedy="give what a page says under `older`"
        )
    return text


def _reading(
    prefix: str, command: str, first: str, last: str, count: int
) -> Operation[list[Record]]:
    key = _key(prefix)
    return Operation(
        kind=Kind.READ,
        keys=(key,),
        args=(command, key, first, last, "COUNT", count),
        read=_read,
        lane=Lane.BULK,
    )


def _key(prefix: str) -> bytes:
    return f"{prefix}:audit".encode()


def _read(reply: Any) -> list[Record]:
    try:
        return [_record(place.decode(), flat) for place, flat in reply]
    except (TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("a record of what was done by hand cannot be read") from error


def _record(place: str, flat: Any) -> Record:
    texts = [part.decode("utf-8", "replace") for part in flat]
    named = dict(zip(texts[::2], texts[1::2], strict=True))
    known: dict[str, Any] = {name: text for name, text in named.items() if name in _NAMES}
    stamp = int(place.partition("-")[0]) / 1000
    return Record(place, Act(**({"id": place} | known | {"at": _instant(named.get("at"), stamp)})))


def _instant(text: str | None, stamp: float) -> float:
    """When it was done; when it was recorded, where the record does not say."""
    try:
        said = float(text or "")
    except ValueError:
        return stamp
    return said if 0 < said < _FAR else stamp
