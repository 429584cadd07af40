"""Find the server program and its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError

VARIABLE = "ARAGORA_REDIS_SERVER"
_NAMES = ("redis-server", "valkey-server")
_OLDEST = (6, 2)


@dataclass(frozen=True, slots=True)
class Server:
    """A redis-server or valkey-server program."""

    path: Path
    version: tuple[int, int, int]

    @property
    def names_source(self) -> bool:
        """Whether it can be told which address it connects from (`bind-source-addr`)."""
        return self.version >= (7, 0, 0)

    @property
    def has_sentinel_debug(self) -> bool:
        """Whether its Sentinel can be told to look more often (`SENTINEL DEBUG`)."""
        return self.version >= (7, 0, 0)

    def speaks_tls(self) -> bool:
        """Whether it was built with TLS."""
        # The second of these lines is an error everywhere, so that no server stays.
        lines = "tls-port 0\nport none\n"
        said = subprocess.run(  # noqa: S603 - the server that was found
            [self.path, "-"], input=lines, capture_output=True, text=True, timeout=10, check=False
        )
        return "tls-port" not in said.stdout + said.stderr


def find_server() -> Server:
    """The program that $ARAGORA_REDIS_SERVER names, else one beside this Python, else on the PATH.

    Raises:
        LabError: there is none, it does not run, or it is older than 6.2.
    """
    path = next(_candidates(), None)
    if path is None:
        raise LabError(
            "there is no redis-server or valkey-server on this machine",
            remedy=f"install one, or name its file in {VARIABLE}",
        )
    try:
        said = subprocess.run(  # noqa: S603 - the user's own choice of server
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(
            f"{path} --version does not run", remedy=f"name a working server in {VARIABLE}"
        ) from error
    return Server(path, read_version(said))


def read_version(said: str) -> tuple[int, int, int]:
    """The version in the answer to `--version`, like `Redis server v=7.0.15 sha=...`.

    Raises:
        LabError: there is none, or it is older than 6.2.
    """
    found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise LabError(
            f"{said.strip()[:80]!r} is not the version of a Redis or Valkey server",
            remedy=f"name a redis-server in {VARIABLE}",
        )
    major, minor, patch = (int(part) for part in found.groups())
    if (major, minor) < _OLDEST:
        raise LabError(
            f"the server is version {major}.{minor}.{patch}", remedy="6.2 or later is needed"
        )
    return major, minor, patch


def _candidates() -> Iterator[Path]:
    # Symbolic links stay unresolved: the program tells by the name it is called under what it is.
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise LabError(f"{VARIABLE} names {named!r}, which cannot be run", remedy="correct it")
        yield Path(found).absolute()
    beside = Path(sys.executable).parent
    for search in (str(beside), None):
        for name in _NAMES:
            found = shutil.which(name, path=search)
            if found is not None:
                yield Path(found).absolute()
