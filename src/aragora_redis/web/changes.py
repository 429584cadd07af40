"""What a request has changed of its session, and what others have meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..sessions.data import Fields, encode


class Changes(NamedTuple):
    """What differs from what was read: new values, and names of fields that are gone."""

    set: dict[str, Any]
    unset: list[str]

    @property
    def touched(self) -> list[str]:
        """The names of all fields that are to be written."""
        return [*self.set, *self.unset]

    def onto(self, newer: Mapping[str, Any], read: Fields, *, overwrite: bool) -> Changes | None:
        """What is left to write over newer data; None where another request has changed the same.

        What both have removed is gone. What both have set is a conflict, were it to the same value:
        of two that count on from what they have read, one would be lost.

        Args:
            newer: what is stored by now.
            read: the fields that this was made of.
            overwrite: whether this wins where another request has changed the same.
        """
        now = encode(newer)
        left = Changes(self.set, [name for name in self.unset if name in now])
        fits = overwrite or all(now.get(name) == read.get(name) for name in left.touched)
        return left if fits else None


def changes(read: Fields, data: Mapping[str, Any], fields: Fields) -> Changes:
    """What to write of `data`, which `fields` encodes, over what was read."""
    return Changes(
        {name: data[name] for name in fields if fields[name] != read.get(name)},
        [name for name in read if name not in fields],
    )
