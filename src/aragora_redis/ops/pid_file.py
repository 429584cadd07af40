"""A file that a process holds for as long as it lives, with its id inside.

An id alone proves nothing, since ids are given again. The lock does: the system takes it back when
its holder ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from ..lab.waiting import wait_until


def claim(path: Path) -> int | None:
    """Hold the file; a descriptor that keeps it, or None where another process has it.

    A child that inherits the descriptor holds the file too.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def sign(descriptor: int, pid: int) -> None:
    """Write down whose the file is."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % pid, 0)


def holder(path: Path) -> int | None:
    """The id of the living process that holds the file, None where none does."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (OSError, ValueError):
        return None
    return None


def end_holders(paths: Sequence[Path], *, grace: float) -> tuple[Path, ...]:
    """SIGTERM to those that hold the files, SIGKILL to those that stay.

    The files stay: to remove one could part two processes that are about to claim it.

    Args:
        paths: which.
        grace: seconds until SIGKILL.

    Returns:
        The files that were held.
    """
    held = tuple(path for path in paths if holder(path) is not None)
    # A frozen process takes its end once it moves.
    for number in (signal.SIGTERM, signal.SIGCONT):
        _send(held, number)
    wait_until(lambda: " ".join(map(str, filter(holder, held))), seconds=grace)
    _send(held, signal.SIGKILL)
    wait_until(lambda: " ".join(map(str, filter(holder, held))), seconds=1.0)
    return held


def _send(paths: Sequence[Path], number: signal.Signals) -> None:
    for path in paths:
        pid = holder(path)
        if pid is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
