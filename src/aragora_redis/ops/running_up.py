"""What others see of an `up`: whether it runs in a directory, and by which policies."""

from __future__ import annotations

import os
from pathlib import Path

from . import pid_file

_LOCK = "up.pid"
_POLICIES = "up.policies"


def lock_path(directory: Path) -> Path:
    """The file that an `up` holds in its directory."""
    return directory / _LOCK


def note_policies(directory: Path, file: Path | None) -> None:
    """Write down which policies file the gateways follow, None for none.

    For the `up` that holds the directory: what an earlier one has written is replaced.
    """
    noted = directory / _POLICIES
    if file is None:
        noted.unlink(missing_ok=True)
    else:
        noted.write_bytes(os.fsencode(file.absolute()))


def policies_followed(directory: Path) -> Path | None:
    """The policies file that the gateways of a living `up` follow; None without `up` or file."""
    if pid_file.holder(lock_path(directory)) is None:
        return None
    try:
        return Path(os.fsdecode((directory / _POLICIES).read_bytes()))
    except FileNotFoundError:
        return None
