"""Whether a file that the settings name can be read."""

from __future__ import annotations

from pathlib import Path


def reason_unreadable(path: Path) -> str | None:
    """Why the file cannot be read, in the words of the system; None where it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:
        return "not a file name"
    return None
