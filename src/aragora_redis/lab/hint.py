"""Commands that errors of a lab advise. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path


def command(words: str, directory: Path) -> str:
    """How a command of the lab in a directory is called, from wherever."""
    return f"aragora-redis lab {words} --lab {shlex.quote(str(directory))}"
