"""Look at the directory of an outbox, and change nothing: no lock is taken, not even for a moment.

One that is taken while an instance starts would have it pass over a file of the dead.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

from ..settings.files import directory_fault
from ..state.revocations.outbox_file import SUFFIX, file_fault, header_fault, header_of, read_header
from .outbox_sight import OutboxFileSight, OutboxSight

ROOT = 0
_LOCKS, _MOUNTS = Path("/proc/locks"), Path("/proc/self/mountinfo")


def look(path: Path, *, fingerprint: str, prefix: str, deadline: float) -> OutboxSight:
    """What a directory shows.

    Args:
        path: of it.
        fingerprint: of our digest key.
        prefix: of our keys in Redis.
        deadline: seconds that the disk has for its answers.
    """
    found: list[OutboxSight] = []
    header = header_of(fingerprint, prefix)
    # One that waits for a disk that hangs must not keep the process.
    looking = threading.Thread(target=lambda: found.append(_look(path, header)), daemon=True)
    looking.start()
    looking.join(deadline)
    if found:
        return found[0]
    return OutboxSight(path=path, unseen=f"the disk does not answer within {deadline:g} s")


def _look(path: Path, header: dict[str, object]) -> OutboxSight:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _without(path)
    except (OSError, ValueError) as error:
        return OutboxSight(path=path, unseen=_said(error))
    # Who may do all things looks on behalf of the owner.
    owner = found.st_uid if os.geteuid() == ROOT else os.geteuid()
    fault, unseen = directory_fault(found, owner), None
    files: tuple[OutboxFileSight, ...] = ()
    try:
        files = tuple(_files(path, owner, header)) if stat.S_ISDIR(found.st_mode) else ()
    except OSError as error:
        unseen = _said(error)
    kind, read_only, free = _disk(path, found.st_dev)
    return OutboxSight(
        path=path,
        fault=fault,
        owner=found.st_uid,
        unseen=unseen,
        kind=kind,
        read_only=read_only,
        free=free,
        files=files,
    )


def _without(path: Path) -> OutboxSight:
    if not path.parent.is_dir():
        return OutboxSight(path=path, missing=path.parent)
    kind, read_only, free = _disk(path.parent, path.parent.stat().st_dev)
    return OutboxSight(path=path, missing=path, kind=kind, read_only=read_only, free=free)


def _files(path: Path, owner: int, header: dict[str, object]) -> Iterator[OutboxFileSight]:
    locked = _locked()
    for name in sorted(os.listdir(path)):  # noqa: PTH208 - names alone
        if not name.endswith(SUFFIX):
            continue
        try:
            found = (path / name).lstat()
            strange = file_fault(found, owner) or _of_another(path / name, header)
        except FileNotFoundError:
            continue  # just adopted
        yield OutboxFileSight(
            boot=name.removesuffix(SUFFIX),
            size=found.st_size,
            locked=(found.st_dev, found.st_ino) in locked,
            strange=strange,
        )


def _of_another(path: Path, header: dict[str, object]) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            said = read_header(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        return f"it cannot be read: {_said(error)}"
    return header_fault(said, header)


def _locked() -> Collection[tuple[int, int]]:
    """Device and inode of what is locked by a process that is seen from here."""
    try:
        rows = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:
        return ()
    places = [row[5].split(":") for row in rows if len(row) > 5 and row[1] == "FLOCK"]
    return {
        (os.makedev(int(major, 16), int(minor, 16)), int(inode)) for major, minor, inode in places
    }


def _disk(path: Path, device: int) -> tuple[str | None, bool, int | None]:
    """The kind of a file system, whether it takes no writes, and the bytes that are free."""
    try:
        room = os.statvfs(path)
    except OSError:
        return _kind(device), False, None
    return _kind(device), bool(room.f_flag & os.ST_RDONLY), room.f_bavail * room.f_frsize


def _kind(device: int) -> str | None:
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        rows = [line.split() for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return None
    return next((row[row.index("-") + 1] for row in rows if row[2] == wanted), None)


def _said(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
