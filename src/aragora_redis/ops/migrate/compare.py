"""Whether a key is the same on both sides of a migration. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple

from ..report import Status

NONE = b"none"
"""What TYPE answers for a key that is not there."""
Expiry = tuple[float, float]
"""Between which two instants of our monotonic clock a key expires."""
_ENDING = 2.0
"""Seconds before its end in which a key may be gone on one side already: clocks differ a little."""
_SHOWN = 120
"""Characters of a key that are shown."""


class Look(NamedTuple):
    """What one side holds under a key, as it was when we looked."""

    kind: bytes
    """The type, as TYPE names it."""
    expires: Expiry | None
    """None for never. Of a key that is not there: since when, at the latest."""
    size: int
    """Elements, bytes of a string; -1 where the type is not known."""
    digest: bytes | None
    """Of the whole value; None where it is too large, or of a type that is not known."""

    @classmethod
    def of(cls, reply: list[Any], begun: float, ended: float) -> Look:
        """Read {type, pttl in milliseconds, count, digest}, asked for between two instants."""
        kind, pttl, size, digest = reply
        if kind == NONE:
            return cls(kind, (-inf, ended), 0, None)
        expires = None if pttl < 0 else (begun + pttl / 1000, ended + pttl / 1000)
        return cls(kind, expires, size, digest)

    @property
    def large(self) -> bool:
        """Whether the value is to be compared by samples."""
        return self.digest is None and self.size >= 0 and self.kind != NONE

    @property
    def unreadable(self) -> bool:
        """Whether the value cannot be compared: its type is a module's."""
        return self.size < 0


class What(StrEnum):
    """In what the two sides differ."""

    MISSING = "missing on the target"
    EXTRA = "only on the target"
    TYPE = "type"
    VALUE = "value"
    TTL = "ttl"


def compare(source: Look, target: Look, tolerance: float) -> What | None:
    """The first thing in which two looks at a key differ; None for nothing.

    A key that one side has no more, and that is about to expire on the other, is no difference: it
    has expired meanwhile. The tolerance, which may be minutes, is none of a key that is missing.

    Args:
        source: one look.
        target: the other.
        tolerance: seconds by which remaining times may differ.
    """
    if source.kind != target.kind:
        if NONE not in {source.kind, target.kind}:
            return What.TYPE
        if _apart(source.expires, target.expires) <= _ENDING:
            return None
        return What.MISSING if target.kind == NONE else What.EXTRA
    if (source.size, source.digest) != (target.size, target.digest):
        return What.VALUE
    if _apart(source.expires, target.expires) > tolerance:
        return What.TTL
    return None


def _apart(one: Expiry | None, other: Expiry | None) -> float:
    """Seconds by which two expiries differ at least."""
    if one is None or other is None:
        return 0.0 if one is other else inf
    return max(0.0, one[0] - other[1], other[0] - one[1])


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that is not the same on both sides."""

    db: int
    key: str
    """As text that can be shown, see `shown`."""
    what: What

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"db": self.db, "key": self.key, "what": self.what.value}


def shown(key: bytes) -> str:
    """A key as text without control characters; a long one is cut, and its length told."""
    text = key.decode("utf-8", "backslashreplace")
    safe = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
    return safe if len(safe) <= _SHOWN else f"{safe[:_SHOWN]}... ({len(key)} bytes)"


@dataclass(frozen=True, slots=True)
class Counted:
    """How far it has come."""

    done: int
    """Keys of the source and of the target that were looked at."""
    total: int
    """Keys of both when it began (DBSIZE)."""
    rate: float
    """Keys a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonReport:
    """What a comparison of both sides found."""

    source_keys: int
    """That were found there; SCAN may find one more than once."""
    target_keys: int
    ignored: int
    """Of both sides, by their prefix."""
    ignore: tuple[bytes, ...]
    """The prefixes."""
    compared: int
    """Keys of the source that were looked at on both sides."""
    sampled: int
    """Those of them of which only samples were compared, for their size."""
    unreadable: int
    """Those of which the value was not compared: a module's type."""
    counts: Mapping[What, int]
    """All differences, by kind."""
    differences: tuple[Difference, ...]
    """The first of them."""
    seconds: float

    @property
    def different(self) -> int:
        """How many keys differ."""
        return sum(self.counts.values())

    @property
    def status(self) -> Status:
        """CRITICAL where keys differ, WARNING where values or all keys were not compared."""
        if self.different:
            return Status.CRITICAL
        return Status.WARNING if self.unreadable or self._vain else Status.OK

    @property
    def _vain(self) -> bool:
        """Whether there are keys, and none was compared."""
        return not self.compared and bool(self.source_keys or self.target_keys)

    @property
    def exit_code(self) -> int:
        """0 OK, 1 WARNING, 2 CRITICAL."""
        return int(self.status)

    @property
    def headline(self) -> str:
        """One line."""
        alike = f"{self.compared} keys were compared in {self.seconds:.1f} s"
        if self.sampled:
            alike += f", {self.sampled} of them by samples for their size"
        if self.ignored:
            prefixes = " or ".join(map(shown, self.ignore))
            alike += f"; of both sides {self.ignored} were ignored, which begin with {prefixes}"
        if self.different:
            kinds = ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)
            return f"CRITICAL: {self.different} keys differ ({kinds}); {alike}"
        if self.unreadable:
            return f"WARNING: {self.unreadable} values of modules were not compared; {alike}"
        if self._vain:
            return f"WARNING: this proves nothing: {alike}"
        return f"OK: no key differs; {alike}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status.name,
            "headline": self.headline,
            "source_keys": self.source_keys,
            "target_keys": self.target_keys,
            "ignored": self.ignored,
            "compared": self.compared,
            "sampled": self.sampled,
            "unreadable": self.unreadable,
            "different": self.different,
            "counts": {what.value: self.counts.get(what, 0) for what in What},
            "differences": [each.as_dict() for each in self.differences],
            "seconds": self.seconds,
        }


class Findings:
    """Gathers the differences: all are counted, the first are listed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.counts: Counter[What] = Counter()
        self.listed: list[Difference] = []

    @property
    def total(self) -> int:
        """How many there are so far."""
        return self.counts.total()

    def add(self, db: int, key: bytes, what: What) -> None:
        """Take note of one."""
        self.counts[what] += 1
        if len(self.listed) < self._limit:
            self.listed.append(Difference(db, shown(key), what))
