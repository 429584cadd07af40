"""End a lab together with the process that started it, however that dies.

The guard is a process that holds the reading end of a pipe. Nobody writes: the pipe ends when the
starter does, even by SIGKILL, and then the guard stops the servers. Unlike a parent-death signal
this covers nodes that were brought back by another process, and works on macOS.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Self

from ..errors import LabError
from . import cuts, manifest
from .node import end_all

_PROGRAM = "from aragora_redis.lab.guard import main; main()"


class Guard:
    """The starter's end of the pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, directory: Path, run: str) -> Self:
        """Guard this run of the lab in a directory."""
        return cls(
            subprocess.Popen(  # noqa: S603 - this Python, on our own module
                [sys.executable, "-c", _PROGRAM, str(directory), run],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        )

    def check(self) -> None:
        """Wait until it watches.

        Raises:
            LabError: it died first.
        """
        if self._process.stdout is None or not self._process.stdout.readline():
            raise LabError(
                "the process that would stop the servers after this one ended at its start",
                remedy="start the lab in the background instead",
            )

    def close(self) -> None:
        """Let it go; it ends what is left of the lab's run."""
        self._process.communicate()


def main() -> None:
    """Wait for the end of standard input, then stop and heal the run that the arguments name."""
    directory, run = Path(sys.argv[1]), sys.argv[2]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    found = manifest.load(directory)
    if found is not None and found.run == run:
        end_all(found.nodes(directory))
        cuts.heal(directory, cuts.table_of(found.network))
