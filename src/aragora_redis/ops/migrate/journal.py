"""What a migration has done so far, on disk, so that a run that is killed is gone on with.

It holds no secret and no data: who the two are, how far it came, and what has to be put back.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from ...address import Address
from ...errors import InvalidInputError

VERSION = 1


class State(StrEnum):
    """How far it came. A step is written down before it is begun, so that it is begun again."""

    HELD = "held"
    """The Sentinels of the target are being told to elect nobody; nothing else has changed."""
    FOLLOWING = "following"
    """The target takes over what the source has, and what is written to it."""
    MOVING = "moving"
    """Writes are being moved: held at the source, then taken by the target."""
    MOVED = "moved"
    """The target takes the writes, and the source follows it."""
    RETURNING = "returning"
    """Writes are being moved back; once they are, the Sentinels have yet to forget the source."""
    ROLLED_BACK = "rolled-back"
    """The source takes the writes; the target is by itself, with what it had copied."""
    COMMITTED = "committed"
    """There is no way back; the source may be ended."""


class Journal(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One migration.

    Attributes:
        source: address of the source.
        target: what the target is called, see `sites.title`.
        way: how data gets there.
        state: how far it came.
        patience: what each Sentinel of the target had as down-after-milliseconds.
        kept: settings that were changed and are put back: by address, then by name.
        copying: what a copy has changed in servers, see `copying.Copy.state`.
        pauses: seconds for which writes were held, each time they were moved.
        goal: the history of the server that gave the writes up last, and how much of it there was.
    """

    source: str
    target: str
    way: str
    state: State = State.HELD
    patience: dict[str, int] = {}
    kept: dict[str, dict[str, str]] = {}
    copying: dict[str, Any] = {}
    pauses: list[float] = []
    goal: tuple[str, int] | None = None
    version: int = VERSION

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be done."""
        return self.state in {State.ROLLED_BACK, State.COMMITTED}


def give_up(journal: Journal, gone: Collection[Address]) -> tuple[str, ...]:
    """Forget what was to be put back in servers that are gone; what that is, each as a sentence."""
    said = []
    for at in map(str, sorted(gone)):
        kept = [*journal.kept.pop(at, ()), *journal.copying.get("guard", {}).pop(at, ())]
        if journal.copying.get("notify", {}).pop(at, None):
            kept.append("notify-keyspace-events")
        if journal.patience.pop(at, None):
            kept.append("down-after-milliseconds")
        if kept:
            said.append(f"{at} has not got back what was changed there: {', '.join(sorted(kept))}")
    return tuple(said)


def read(path: Path) -> Journal | None:
    """The migration that a file tells of; None where there is no file.

    Raises:
        InvalidInputError: it is no journal.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = msgspec.json.decode(content, type=Journal)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path} is no journal of a migration: {error}",
            remedy="name the one that was begun with --journal; nothing was done",
        ) from None
    if found.version != VERSION:
        raise InvalidInputError(
            f"{path} was written by another version of this command",
            remedy="go on with that version; nothing was done",
        )
    return found


def write(path: Path, journal: Journal) -> None:
    """Put it on disk, whole, before what it tells of is done.

    Raises:
        InvalidInputError: it cannot be written, so nothing is done.
    """
    try:
        _write(path, journal)
    except OSError as error:
        raise InvalidInputError(
            f"the journal {path} cannot be written: {error.strerror}",
            remedy="make room for it or name another place with --journal, and run this again",
        ) from error


def _write(path: Path, journal: Journal) -> None:
    beside = path.with_name(path.name + ".new")
    content = msgspec.json.format(msgspec.json.encode(journal), indent=2)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content + b"\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
