"""What the fields of a session of Django are stored as, and what is taken over of others. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import SessionDataError
from ...sessions.data import Fields, encode


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as it will be read again: what Django's `JSONSerializer` makes of it.

    Tuples come back as lists, members of text and number enums as their values, and keys of objects
    as text; what JSON has not is refused.

    Raises:
        SessionDataError: a field holds such a thing.
    """
    return {name: _plain(name, value) for name, value in data.items()}


def take_over(held: dict[str, Any], sent: Fields, newer: Mapping[str, Any]) -> Fields:
    """Go on with what is stored by now, in place; how that is encoded.

    What was changed in `held` since `sent` stays, and so do the objects of what others have not
    changed, which a view may hold.
    """
    stored = encode(newer)
    for name in {*sent, *stored}:
        if _encoded(held, name) != sent.get(name):
            continue
        if name not in stored:
            del held[name]
        elif stored[name] != sent.get(name):
            held[name] = newer[name]
    return stored


def _plain(name: str, value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise SessionDataError(
            f"the field {str(name)[:40]!r} holds what JSON has not: {_kind(error)}",
            remedy="store text, numbers, booleans, None, and lists and dicts of them",
        ) from None


def _kind(error: Exception) -> str:
    """What `json` says is of types alone; of values it says nothing that we would repeat."""
    return str(error) if isinstance(error, TypeError) else "it is nested too deep, or in itself"


def _encoded(data: Mapping[str, Any], name: str) -> bytes | None:
    """A field as it would be written; None where it is not there, empty where it cannot be."""
    if name not in data:
        return None
    try:
        return encode(plain({name: data[name]}))[name]
    except SessionDataError:
        return b""
