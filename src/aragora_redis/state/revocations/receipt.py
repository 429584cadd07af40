"""How far a revocation got, as whoever asked for it is told."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from msgspec import Struct

from ...tokens.position import Position

Kept = Literal["none", "memory", "disk"]


class Level(IntEnum):
    """How far a revocation got; each includes the ones before."""

    LOCAL = 0
    """This instance enforces it, and will publish it."""
    PRIMARY = 1
    """The primary has it."""
    REPLICATED = 2
    """Every replica has it that most Sentinels do not call down: no single fault loses it."""
    FSYNCED = 3
    """It is on the disk of the primary, and of every replica that counts: no power cut loses it.

    Takes Redis 7.2 or Valkey 8 with append-only files, and, where those are synced each second, up
    to two seconds.
    """

    @property
    def word(self) -> str:
        """Its name in JSON and settings."""
        return self.name.lower()

    def __str__(self) -> str:
        return self.word


class Receipt(Struct, frozen=True):
    """What is known of a revocation when `revoke` returns.

    Attributes:
        level: the level truly reached.
        wanted: the level that was waited for.
        outbox: where this instance keeps it until it expires: on `disk`, and so beyond its own
            end, in `memory`, or `none` where nothing had to be kept.
        acknowledged: replicas that have it.
        required: replicas that had to, for REPLICATED; 0 where none counts.
        position: era and number of the change, where the primary answered.
        not_before: for a cut-off, the first `iat` (Unix seconds) that is valid again.
    """

    level: Level
    wanted: Level
    outbox: Kept = "memory"
    acknowledged: int = 0
    required: int = 0
    position: Position | None = None
    not_before: int | None = None


class Imported(Struct, frozen=True):
    """What an import has brought.

    Attributes:
        entries: revocations read.
        expired: how many of them were over, and left out.
        level: how far all others got.
    """

    entries: int
    expired: int
    level: Level

    def __str__(self) -> str:
        return f"{self.entries} entries, {self.level.word}"
