"""The changes that a shard took in of late, by their numbers. Pure.

There are thousands of each of sixteen shards, where revocations keep coming, so most entries are
kept as bytes: as objects they take ten times as much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from .entry import MEMBER_BYTES, Entry
from .position import Position

RING_BYTES = 2**20
"""Memory that the changes of a shard may take, about: 3 700 of one entry, or 47 000 entries, 128 at
once. Older ones are compared by digest instead."""
_ENTRY = Struct(f">{MEMBER_BYTES}siq")
_CHANGE_BYTES = 260
"""Of a change, beside its entries as bytes."""
_OBJECT_BYTES = 250
"""Of an entry that is kept as it is: it has a note, or is a pardon."""


class Kept(NamedTuple):
    """A change at a position; `own` where this instance has made it."""

    at: Position
    held: bytes | tuple[Entry, ...]
    own: bool

    @property
    def entries(self) -> Sequence[Entry]:
        """What has changed."""
        if isinstance(self.held, tuple):
            return self.held
        return [Entry(day, member, score) for member, day, score in _ENTRY.iter_unpack(self.held)]

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, about."""
        each = _OBJECT_BYTES if isinstance(self.held, tuple) else 1
        return _CHANGE_BYTES + each * len(self.held)


class Ring:
    """Keeps the latest of them, in the order in which they came."""

    def __init__(self) -> None:
        self._kept: deque[Kept] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept)

    def keep(self, at: Position, entries: Sequence[Entry], *, own: bool) -> list[Position]:
        """Take in a change; where those stood that had to go for it, the oldest first."""
        if self._kept and self._kept[-1].at[:3] == at[:3]:
            at = self._kept[-1].at._replace(seq=at.seq)  # all of a history share its name
        kept = Kept(at, _held(entries), own)
        self._kept.append(kept)
        self._size += kept.size
        gone: list[Position] = []
        while self._size > RING_BYTES:
            old = self._kept.popleft()
            self._size -= old.size
            gone.append(old.at)
        return gone

    def retain(self, kept: Iterable[Kept]) -> None:
        """Forget all but these."""
        self._kept = deque(kept)
        self._size = sum(each.size for each in self._kept)


def _held(entries: Sequence[Entry]) -> bytes | tuple[Entry, ...]:
    if any(len(entry.member) != MEMBER_BYTES or entry.note for entry in entries):
        return tuple(entries)
    return b"".join([_ENTRY.pack(member, day, score) for day, member, score, _ in entries])
