"""The outbox on disk: one file that only its holder writes, in a directory of its owner's alone.

Everything here blocks, and runs in a thread of its own. A file is locked for as long as its process
lives; the lock of a dead one is free, and whoever takes it adopts what the file holds. Files are
made anew beside the old one and renamed over it, so at each moment there is a whole one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct, field

from ...settings.files import directory_fault
from ...tokens.entry import Entry
from ...tokens.lines import LINE_LIMIT, entry_of, joined, line_of, sealed, unsealed

T = TypeVar("T")

SUFFIX: Final = ".outbox"
FORMAT: Final = 2
"""Of the lines, and of how members are made."""
LIMIT: Final = 64 * 1024 * 1024
"""Bytes that a file may have: 400 000 revocations with a note, or twice as many without."""
ATTEMPTS: Final = 8
"""Times that a new file is made where another instance has just taken it for a dead one's."""
_BLOCK: Final = b" " * 4096
"""What a disk is asked to take on trial; torn, it is one line that nobody wrote."""
_OPEN: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OTHERS: Final = 0o077


class Found(Struct):
    """What files of the dead held.

    Attributes:
        files: how many were adopted.
        damaged: lines that were not as they had been written, torn ends among them.
        foreign: why files were left alone, as sentences.
        unread: what kept files from being adopted, as sentences.
    """

    files: int = 0
    entries: list[Entry] = field(default_factory=list)
    damaged: int = 0
    foreign: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


class OutboxFile:
    """The file of one instance.

    Args:
        directory: made where there is none.
        boot_id: names the file.
        fingerprint: of the digest key: what another key has digested means nothing under ours.
        prefix: of the keys in Redis.
        today: the day whose end makes entries expire; None while nobody knows it for certain.
        limit: bytes that it may have.
    """

    def __init__(
        self,
        directory: Path,
        boot_id: str,
        *,
        fingerprint: str,
        prefix: str,
        today: Callable[[], int | None],
        limit: int = LIMIT,
    ) -> None:
        self._directory = directory
        self._name = boot_id + SUFFIX
        self._header = header_of(fingerprint, prefix)
        self._today = today
        self._limit = limit
        self._file: int | None = None
        self._sound = False
        self._made_of: tuple[int | None, int] | None = None
        self.entries = 0
        """Revocations in it."""
        self.size = 0
        """Bytes that it has."""
        self.steps = 0
        """Lines read or written so far: while it grows, the disk answers."""
        self._held: dict[str, int] = {}
        _OPEN_FILES.add(self)

    def append(self, entries: Iterable[Entry]) -> None:
        """Write entries so that they outlive this process and the machine.

        Raises:
            OSError: they do not; what the file held before it still holds.
        """
        lines = [line_of(entry) for entry in self._stepped(entries)]
        data = b"".join(lines)
        if not (self._sound and self._in_place()):
            self._make_anew()
        if self.size + len(data) > self._limit and self._made_of != (self._today(), self.size):
            self._make_anew()
        if self.size + len(data) > self._limit:
            raise OSError(errno.EFBIG, f"the outbox has its {self._limit} bytes")
        self._put(data)
        self.size += len(data)
        self.entries += len(lines)
        self._sound = True
        if not self._in_place():
            raise OSError(errno.ENOENT, f"{self._directory / self._name} was taken away")

    def probe(self) -> None:
        """See whether the disk would take a revocation now; it leaves nothing behind.

        Raises:
            OSError: it would not.
        """
        self.append(())
        os.ftruncate(self._put(_BLOCK), self.size)
        self._sound = True

    def _put(self, data: bytes) -> int:
        """Have bytes on disk behind what the file holds, which is sound once they are counted.

        Raises:
            OSError: they are not; what the file held still holds.
        """
        assert self._file is not None  # noqa: S101 - made before
        self._sound = False
        try:
            _write(self._file, data)
        except OSError:
            os.ftruncate(self._file, self.size)
            self._sound = True
            raise
        # What a failed fsync has left in the page cache is never written (fsyncgate), so then the
        # file is made anew before it is written again.
        os.fsync(self._file)
        return self._file

    def compact(self) -> None:
        """Drop what has expired, once a day: all of it has to be read for that.

        Raises:
            OSError: the file stays as it was.
        """
        if self._made_of is not None and self._made_of[0] != self._today():
            self._make_anew()

    def adopt(self) -> Found:
        """Take over the files of the dead: what they held is in our file when they go.

        Raises:
            OSError: the directory cannot be used.
        """
        found = Found()
        directory = _directory(self._directory)
        try:
            for name in sorted(os.listdir(directory)):  # noqa: PTH208 - of a descriptor
                if name.endswith(SUFFIX + _NEW):
                    _remove_unlocked(directory, name)
                if name.endswith(SUFFIX) and name != self._name and name not in self._held:
                    try:
                        self._adopt_one(directory, name, found)
                    except FileNotFoundError:
                        pass  # another has just adopted it
                    except OSError as error:
                        found.unread.append(f"{self._directory / name}: {error.strerror or error}")
        finally:
            os.close(directory)
        return found

    def close(self) -> None:
        """Let go of the file: it stays for the next to adopt, if it holds anything."""
        _OPEN_FILES.discard(self)
        if self._file is not None and self._sound and not self.entries and self._in_place():
            with contextlib.suppress(OSError):
                (self._directory / self._name).unlink()
        self.forget()

    def forget(self) -> None:
        """Close without a word: after a fork the file is the parent's."""
        for descriptor in (self._file, *self._held.values()):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._file, self._sound, self._made_of = None, False, None
        self._held.clear()

    def _adopt_one(self, directory: int, name: str, found: Found) -> None:
        descriptor = os.open(name, os.O_RDWR | _OPEN, dir_fd=directory)
        keeps = False
        try:
            if why := file_fault(os.fstat(descriptor), os.geteuid()):
                found.foreign.append(f"{self._directory / name} is left alone: {why}")
                return
            if not _lock(descriptor) or not _names(directory, name, descriptor):
                return  # its instance lives, or another has just adopted it
            header, entries, damaged = _contents(self._stepped(_lines(descriptor)))
            if why := header_fault(header, self._header):
                found.foreign.append(f"{self._directory / name} is left alone: {why}")
                return
            alive = list(joined(self._alive(entries, self._today())))
            found.files += 1
            found.entries += alive
            found.damaged += damaged
            try:
                if alive:
                    self.append(alive)
            except OSError as error:
                # It stays where it is, and ours: nobody else need say again what we now say.
                self._held[name], keeps = descriptor, True
                found.unread.append(f"{self._directory / name} stays: {error.strerror or error}")
                return
            os.unlink(name, dir_fd=directory)
            os.fsync(directory)
        finally:
            if not keeps:
                os.close(descriptor)

    def _make_anew(self) -> None:
        """Write what the file holds and still matters into a new one, in its place."""
        directory = _directory(self._directory)
        new: int | None = None
        today = self._today()
        try:
            new = _created(directory, self._name + _NEW)
            held = _lines(self._file) if self._file is not None else ()
            entries = _contents(self._stepped(held))[1]
            alive = joined(self._alive(entries, today))
            lines = [line_of(entry) for entry in self._stepped(alive)]
            _write(new, sealed(self._header) + b"".join(lines))
            os.fsync(new)
            os.rename(self._name + _NEW, self._name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
            old, self._file, new = self._file, new, None
            if old is not None:
                os.close(old)
            self.size, self.entries = os.fstat(self._file).st_size, len(lines)
            self._sound, self._made_of = True, (today, self.size)
        finally:
            if new is not None:
                with contextlib.suppress(OSError):  # it may hold the last of a full disk
                    os.unlink(self._name + _NEW, dir_fd=directory)
                os.close(new)
            os.close(directory)

    def _alive(self, entries: Iterable[Entry], today: int | None) -> Iterator[Entry]:
        """Those that Redis keeps too."""
        return (entry for entry in entries if today is None or entry.day + 2 > today)

    def _stepped(self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            self.steps += 1
            yield item

    def _in_place(self) -> bool:
        """Whether the file is where the next process will look for it."""
        assert self._file is not None  # noqa: S101 - of a sound file
        try:
            there = os.lstat(self._directory / self._name)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._file))


_NEW: Final = ".new"
_OPEN_FILES: weakref.WeakSet[OutboxFile] = weakref.WeakSet()


def _forget_all() -> None:
    # A child that kept the descriptor would keep the lock when the parent has died.
    for each in tuple(_OPEN_FILES):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)


def _directory(path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    if why := directory_fault(os.fstat(descriptor)):
        os.close(descriptor)
        raise OSError(errno.EPERM, why)
    return descriptor


def header_of(fingerprint: str, prefix: str) -> dict[str, object]:
    """What the first line of a file says: whose it is."""
    return {"outbox": FORMAT, "key": fingerprint, "prefix": prefix}


def read_header(descriptor: int) -> dict[str, object] | None:
    """What the first line of an open file says; None where it does not."""
    return unsealed(next(_lines(descriptor), b""))


def header_fault(said: dict[str, object] | None, ours: dict[str, object]) -> str | None:
    """Why what a file holds is not for who writes `ours`; None where it is, or says nothing."""
    if said is None or said == ours:
        return None
    if said.get("outbox") != FORMAT:
        return f"its format is not {FORMAT}"
    return "it is of another digest key or prefix"


def file_fault(found: os.stat_result, owner: int) -> str | None:
    """Why a file is not trusted to hold what its owner wrote; None where it is."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return "it is no plain file"
    if found.st_uid != owner:
        return "it belongs to somebody else"
    return "others may read or write it" if found.st_mode & _OTHERS else None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _created(directory: int, name: str) -> int:
    """A new file that we hold. One that tidies up may come between its making and its lock."""
    for _ in range(ATTEMPTS):
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | _OPEN
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        if _lock(descriptor) and _names(directory, name, descriptor):
            return descriptor
        os.close(descriptor)
    raise OSError(errno.EAGAIN, "somebody else holds the new outbox file")


def _remove_unlocked(directory: int, name: str) -> None:
    """Remove what somebody who died while making a file anew has left: the old one is whole."""
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDWR | _OPEN, dir_fd=directory)
        try:
            if _lock(descriptor) and _names(directory, name, descriptor):
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(descriptor)


def _names(directory: int, name: str, descriptor: int) -> bool:
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _contents(lines: Iterable[bytes]) -> tuple[dict[str, object] | None, list[Entry], int]:
    """The header, the entries, and how many lines are not as they were written."""
    header: dict[str, object] | None = None
    entries: list[Entry] = []
    damaged = 0
    for number, line in enumerate(lines):
        entry = entry_of(line) if line.endswith(b"\n") else None
        if entry is not None:
            entries.append(entry)
        elif number == 0 and (said := unsealed(line)) is not None:
            header = said
        else:
            damaged += 1
    return header, entries, damaged


def _lines(descriptor: int) -> Iterator[bytes]:
    copy = os.dup(descriptor)
    with os.fdopen(copy, "rb") as file:
        file.seek(0)
        while line := file.readline(LINE_LIMIT):
            yield line
