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

_HALF = "holds half of a character (a lone surrogate)"
_as_json = msgspec.json.Encoder().encode
_of_json = msgspec.json.Decoder().decode

Fields = dict[str, bytes]


def encode(data: Mapping[str, Any], *, most_bytes: int | None = None) -> Fields:
    """Each field as JSON.

    Raises:
        SessionDataError: a value is of a type that would not come back as it went in, or they have
            more than `most_bytes` together.
    """
    if type(data) is not dict and not isinstance(data, Mapping):
        raise SessionDataError("the data of a session is an object of named fields")
    if len(data) > FIELD_LIMIT:
        raise SessionDataError(f"a session has at most {FIELD_LIMIT} fields")
    fields: Fields = {}
    for name, value in data.items():
        _check(value, _name(name))
        fields[name] = _as_json(value)
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
    if type(of) is tuple and not of:
        return ()
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
        return {name: _of_json(value) for name, value in fields.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SessionUnreadableError("not-json") from error


def size_of(fields: Mapping[str, bytes]) -> int:
    """Bytes of names and values."""
    return sum([len(name.encode()) + len(value) for name, value in fields.items()])


def _name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > NAME_LIMIT:
        raise SessionDataError(f"a field's name is a text of at most {NAME_LIMIT} characters")
    if not _is_whole(name):
        raise SessionDataError(f"a field's name {_HALF}")
    return name


def _check(value: Any, name: str, depth: int = DEPTH_LIMIT) -> None:
    """Refuse what JSON has not; checked by exact type, since a subclass would come back as less."""
    kind = type(value)
    if kind is str:
        if not _is_whole(value):
            raise _unfit(name, _HALF)
    elif kind is int:
        if not -_INT_LIMIT <= value < _INT_LIMIT:
            raise _unfit(name, "holds an integer that is not from -2^63 to 2^63 - 1")
    elif kind is float:
        if not math.isfinite(value):
            raise _unfit(name, "holds a number that JSON has not (NaN or infinite)")
    elif kind is list or kind is dict:
        _check_nested(value, name, depth)
    elif value is not None and kind is not bool:
        raise _unfit(
            name,
            f"holds a value of type {kind.__name__}",
            remedy="store text, numbers, booleans, None, and lists and dicts of them",
        )


def _check_nested(value: list[Any] | dict[Any, Any], name: str, depth: int) -> None:
    if depth == 0:
        raise _unfit(name, f"is nested more than {DEPTH_LIMIT} deep")
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise _unfit(name, "holds an object with a key that is no text")
            if not _is_whole(key):
                raise _unfit(name, _HALF)
    for each in value.values() if isinstance(value, dict) else value:
        _check(each, name, depth - 1)


def _is_whole(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unfit(name: str, what: str, *, remedy: str | None = None) -> SessionDataError:
    return SessionDataError(f"the field {name[:40]!r} {what}", remedy=remedy)
