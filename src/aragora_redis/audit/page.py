"""Records as acts, a page at a time, the newest first. Pure.

An act may stand in several records: as `begun` and with its outcome, or twice after a failover. The
newest of them tells it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from msgspec import Struct

from .act import Act


class Record(NamedTuple):
    """An act, and the place of its record in the stream."""

    place: str
    act: Act


class Page(Struct, frozen=True):
    """Some acts, the newest first.

    Attributes:
        acts: what was done.
        older: give it as `before` for those that follow; None where there are none.
    """

    acts: tuple[Act, ...]
    older: str | None = None


class Gathered:
    """The acts of a page, as far as records were looked at.

    Args:
        limit: how many make a page.
        actor: only what they did; None for everybody.
        target: only what was done to it: a part of a target.
        told: ids of acts that pages before this one have told.
    """

    def __init__(
        self, limit: int, actor: str | None, target: str | None, told: Collection[str] = ()
    ) -> None:
        self._limit = limit
        self._actor = actor
        self._target = target or ""
        self._seen = set(told)
        self._acts: list[Act] = []

    def take(self, records: Iterable[Record]) -> Page | None:
        """Take in older records; the page, once it is full."""
        for place, act in records:
            if act.id in self._seen:
                continue
            self._seen.add(act.id)
            if self._actor in (None, act.actor) and self._target in act.target:
                self._acts.append(act)
            if len(self._acts) >= self._limit:
                return self.page(place)
        return None

    def page(self, older: str | None = None) -> Page:
        """What was found so far."""
        return Page(tuple(self._acts), older)
