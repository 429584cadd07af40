"""Find a server's process by its id, and be sure that it is the server's."""

from __future__ import annotations

import subprocess
import time
from enum import StrEnum
from pathlib import Path

_PROC = Path("/proc")
_LOOKS = 3
_PAUSE = 0.02


class State(StrEnum):
    """Whether a process lives."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


def state_of(pid: int, config: Path) -> State:
    """The state of the process of that id, DEAD where that is not the server of this file.

    Ids are given again, so an id alone proves nothing. Where there is /proc, ours is the process
    that works in the file's directory: unlike its command line, that holds from its first moment.
    """
    if (_PROC / "self" / "stat").exists():
        return _by_proc(pid, config)
    return _by_ps(pid, config)


def _by_proc(pid: int, config: Path) -> State:
    process = _PROC / str(pid)
    try:
        ours = (process / "cwd").samefile(config.parent)
        letter = _letter(process)
    except FileNotFoundError:  # it is gone, or what has ended of it works nowhere
        return State.RUNNING if _is_ending(process) else State.DEAD
    except OSError:
        return State.DEAD
    if not ours:
        return State.DEAD
    return State.FROZEN if letter in ("T", "t") else State.RUNNING


def _is_ending(process: Path) -> bool:
    """Whether it may still hold its port: that goes with its last thread, not with its first."""
    try:
        return sum(1 for _ in (process / "task").iterdir()) > 1 or _letter(process) not in "ZX"
    except OSError:
        return False


def _letter(process: Path) -> str:
    stat = (process / "stat").read_text("utf-8", "replace")
    # The second field is the program's name in parentheses, and may itself hold any of them.
    return stat.rpartition(")")[2].split()[0]


def _by_ps(pid: int, config: Path) -> State:
    # The server's title carries its file's path; while it sets the title it has none.
    for attempt in range(_LOOKS):
        if attempt:
            time.sleep(_PAUSE)
        said = subprocess.run(  # noqa: S603 - a number and fixed words
            ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)],  # noqa: S607 - wherever it is
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        state, _, command = said.partition(" ")
        if not state or state.startswith("Z"):
            return State.DEAD
        if f" {config} " in f" {command.strip()} ":
            return State.FROZEN if state.startswith("T") else State.RUNNING
    return State.DEAD
