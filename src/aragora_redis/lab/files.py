"""Files, and directories, that only their owner may read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def make_private(directory: Path) -> None:
    """Make a directory for secrets, which no version control takes up."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    # It may well lie inside somebody's working copy.
    (directory / ".gitignore").write_text("*\n", "utf-8")


def write_private(path: Path, text: str) -> None:
    """Replace a file at once (readers see the old text or the new), for its owner's eyes alone."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
