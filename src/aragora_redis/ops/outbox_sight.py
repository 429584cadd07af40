"""What the directory of an outbox shows to who may look into it, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxFileSight:
    """One file: what one instance keeps, or has left.

    Attributes:
        boot: of which instance, by the boot id that presence has too.
        locked: whether a process is seen that holds it.
        strange: why no instance with our settings adopts it; None where one does.
    """

    boot: str
    size: int
    locked: bool
    strange: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSight:
    """The directory, and the disk that it is on.

    Attributes:
        missing: what is not there: the directory, or the one that it is made in.
        fault: why no instance uses it, as settings say it.
        owner: user id of whom it belongs to; None where it is missing.
        unseen: why it was not looked into.
        kind: of the file system, as the kernel calls it; None where that is not told.
        read_only: whether that takes no writes.
        free: bytes that are left for its owner; None where nobody told.
    """

    path: Path
    missing: Path | None = None
    fault: str | None = None
    owner: int | None = None
    unseen: str | None = None
    kind: str | None = None
    read_only: bool = False
    free: int | None = None
    files: tuple[OutboxFileSight, ...] = ()
