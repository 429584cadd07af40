"""What a session may hold: an object of JSON, each of whose fields is stored by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..errors import SessionDataError, SessionUnreadableError

FIELD_LIMIT = 1000
"""Fields of one session."""
NAME_LIMIT = 256
"""Characters of a field's name."""
DEPTH_LIMIT = 32
"""Lists and objects within each other."""
_INT_LIMIT = 2**63

Fields = dict[str, bytes]


def encode(data: Mapping[str, Any], *, most_bytes: int | None = None) -> Fields:
    """Each field as JSON.

    Raises:
        SessionDataError: a value is of a type that would not come back as it went in, or they have
            more than `most_bytes` together.
    """
    if not isinstance(data, Mapping):
        raise SessionDataError("the data of a session is an object of named fields")
    if len(data) > FIELD_LIMIT:
        raise SessionDataError(f"a session has at most {FIELD_LIMIT} fields")
    fields = {_name(name): _value(name, value) for name, value in data.items()}
    if most_bytes is not None and size_of(fields) > most_bytes:
        raise SessionDataError(
            f"a session holds at most {most_bytes} bytes", remedy="store less in it"
        )
    return fields


def names(of: Iterable[str]) -> tuple[str, ...]:
    """Names of fields to remove.

    Raises:
        SessionDataError: one cannot be a name.
    """
    if isinstance(of, str):
        raise SessionDataError("the fields to remove are a list of names")
    try:
        found = tuple(dict.fromkeys(_name(name) for name in of))
    except TypeError:
        raise SessionDataError("the fields to remove are a list of names") from None
    if len(found) > FIELD_LIMIT:
        raise SessionDataError(f"a session has at most {FIELD_LIMIT} fields")
    return found


def decode(fields: Mapping[str, bytes]) -> dict[str, Any]:
    """The data as it went in.

    Raises:
        SessionUnreadableError: what is stored is not what this package writes.
    """
    try:
        return {name: msgspec.json.decode(value) for name, value in fields.items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise SessionUnreadableError("not-json") from error


def size_of(fields: Mapping[str, bytes]) -> int:
    """Bytes of names and values."""
    return sum(map(len, map(str.encode, fields))) + sum(map(len, fields.values()))


def _name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > NAME_LIMIT:
        raise SessionDataError(f"a field's name is a text of at most {NAME_LIMIT} characters")
    _text(name, "a field's name")
    return name


def _value(name: str, value: Any) -> bytes:
    _check(value, f"the field {name[:40]!r}", DEPTH_LIMIT)
    return msgspec.json.encode(value)


def _check(value: Any, where: str, depth: int) -> None:
    """Refuse what JSON has not; checked by exact type, since a subclass would come back as less."""
    kind = type(value)
    if kind is str:
        _text(value, where)
    elif kind is int or kind is float:
        _number(value, where)
    elif kind is list or kind is dict:
        _nested(value, where, depth)
    elif value is not None and kind is not bool:
        raise SessionDataError(
            f"{where} holds a value of type {kind.__name__}",
            remedy="store text, numbers, booleans, None, and lists and dicts of them",
        )


def _number(value: float, where: str) -> None:
    if isinstance(value, int):
        if not -_INT_LIMIT <= value < _INT_LIMIT:
            raise SessionDataError(f"{where} holds an integer that is not from -2^63 to 2^63 - 1")
    elif not math.isfinite(value):
        raise SessionDataError(f"{where} holds a number that JSON has not (NaN or infinite)")


def _nested(value: list[Any] | dict[Any, Any], where: str, depth: int) -> None:
    if depth == 0:
        raise SessionDataError(f"{where} is nested more than {DEPTH_LIMIT} deep")
    if isinstance(value, dict):
        for name in value:
            if type(name) is not str:
                raise SessionDataError(f"{where} holds an object with a key that is no text")
            _text(name, where)
    for each in value.values() if isinstance(value, dict) else value:
        _check(each, where, depth - 1)


def _text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SessionDataError(f"{where} holds half of a character (a lone surrogate)") from None
