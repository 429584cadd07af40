"""Which keys may differ from their copies, and when nobody can tell. PURE.

A key is *dirty* from the moment its source tells of a change until it is taken to be copied. The
source tells after the change, and the copy reads after the key was taken, so it reads at least what
was told of. A key that is told of again while it is copied is dirty again. Hence, once all that was
told before writes ended has been heard, and what is dirty then has been copied, every key is equal.

Some changes are not told, so they are looked for elsewhere: FLUSHALL, FLUSHDB and SWAPDB in the
count of their calls, a restart and another history in the ids, and what consumer groups do to a
stream (XREADGROUP, XACK, XCLAIM) by looking at such streams once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

Key = tuple[int, bytes]
"""A database and a key in it."""
T = TypeVar("T")

ALL: Final = frozenset("g$lszhxetd")
"""What `A` stands for in notify-keyspace-events."""
_NEEDED: Final = ALL - {"d"} | {"K"}
"""Without modules' own, which servers without modules need not know."""
_UNTOLD: Final = ("cmdstat_flushall", "cmdstat_flushdb", "cmdstat_swapdb")
_SETTINGS: Final = "cmdstat_config|set"
"""Notifications may have been off for a while. Redis 6.2 counts what only reads with it."""

_EVICTED: Final = "evicted_keys"


class Dirty:
    """Keys to be copied once more: so many at most, or else everything is dirty.

    Args:
        keys: how many are kept.
        size: bytes that their names may have together.
    """

    def __init__(self, *, keys: int, size: int) -> None:
        self._keys, self._size = keys, size
        self._known: set[Key] = set()
        self._held = 0
        self.everything: str | None = "nothing was copied yet"
        """Why it is not known which keys differ; None where it is."""

    def __len__(self) -> int:
        return len(self._known)

    def add(self, db: int, key: bytes) -> None:
        """A key was changed."""
        if self.everything is not None or (db, key) in self._known:
            return
        self._known.add((db, key))
        self._held += len(key)
        if len(self._known) > self._keys or self._held > self._size:
            self.lose(f"more than {self._keys} keys were changed before they could be copied")

    def lose(self, why: str) -> None:
        """It is no longer known which keys were changed."""
        self._known, self._held = set(), 0
        self.everything = why

    def begin(self) -> None:
        """All keys are read from now on, so only what changes from now on is dirty."""
        self._known, self._held = set(), 0
        self.everything = None

    def take(self) -> tuple[Key, ...]:
        """All that are dirty; the caller copies them, or gives them back."""
        taken, self._known, self._held = tuple(self._known), set(), 0
        return taken

    def give_back(self, keys: Iterable[Key]) -> None:
        """They were taken, and not copied for sure."""
        for db, key in keys:
            self.add(db, key)


@dataclass(frozen=True, slots=True)
class Mark:
    """What shows that a server lost or gained keys without telling."""

    run_id: str
    replid: str
    role: str
    counted: tuple[tuple[str, int, int], ...]
    """Calls of commands, and microseconds in them: a count begun anew by CONFIG RESETSTAT may be
    the same, and the time is not."""
    flags: frozenset[str] | None
    """What it tells of; None where it does not say so, or is not asked to tell."""


def mark_of(info: Mapping[str, Any], flags: str | None = None, *, evictions: bool = False) -> Mark:
    """Read a mark.

    Args:
        info: INFO server, replication, stats and commandstats.
        flags: notify-keyspace-events.
        evictions: whether they count, as at a target, which tells us nothing.
    """
    counted = [
        (name, int(stat["calls"]), int(stat["usec"]))
        for name in (_UNTOLD if flags is None else (*_UNTOLD, _SETTINGS))
        if (stat := info.get(name))
    ]
    if evictions:
        counted.append((_EVICTED, int(info.get(_EVICTED, 0)), 0))
    return Mark(
        run_id=str(info.get("run_id")),
        replid=str(info.get("master_replid")),
        role=str(info.get("role")),
        counted=tuple(counted),
        flags=None if flags is None else told_of(flags),
    )


def untold(before: Mark, after: Mark, *, settings: bool = True) -> str | None:
    """What happened between two marks that nobody told key by key; None where nothing did.

    Args:
        before: the earlier mark.
        after: the later.
        settings: whether CONFIG SET counts, of which we do not know what was set.
    """
    if before.run_id != after.run_id:
        return "was started again"
    if (before.replid, before.role) != (after.replid, after.role):
        return "took over another history, or became a replica"
    if before.flags != after.flags:
        return "had notify-keyspace-events changed by somebody"
    called = {name for name, *_ in set(before.counted) ^ set(after.counted)}
    if _EVICTED in called:
        return "evicted keys, for it has too little memory"
    if not settings:
        called.discard(_SETTINGS)
    names = (each.removeprefix("cmdstat_").upper().replace("|", " ") for each in sorted(called))
    return f"was given {', '.join(names)}" if called else None


def told_of(flags: str) -> frozenset[str]:
    """What a value of notify-keyspace-events stands for."""
    return frozenset(flags) - {"A"} | (ALL if "A" in flags else frozenset())


def enough(flags: str) -> bool:
    """Whether every change of a key is told under its name."""
    return told_of(flags) >= _NEEDED


def with_enough(flags: str) -> str:
    """The same and what is needed: others may listen to what is told already."""
    return "".join(sorted(set(flags) - ALL | {"K", "A"}))


@dataclass(frozen=True, slots=True)
class Count:
    """How many keys a side has: expired ones are counted until they are removed."""

    keys: int
    expiring: int

    def agrees(self, other: Count, *, spare: int = 0) -> bool:
        """Whether both may have the same keys, but for `spare` of ours that were left out."""
        return (
            self.keys - self.expiring - spare <= other.keys
            and other.keys - other.expiring <= self.keys
        )


def batches(items: Sequence[tuple[T, int]], limit: int) -> list[list[T]]:
    """Items with their sizes, in lots of `limit` at most; what is larger is a lot of its own."""
    lots: list[list[T]] = []
    room = 0
    for item, size in items:
        if not lots or size > room:
            lots.append([])
            room = limit
        lots[-1].append(item)
        room -= size
    return lots
