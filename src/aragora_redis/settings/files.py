"""Whether the files and directories that the settings name can be used."""

from __future__ import annotations

import os
import stat
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


def directory_fault(found: os.stat_result) -> str | None:
    """What is wrong with a directory that nobody but us may look into; None where nothing is."""
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link; name the directory itself"
    if not stat.S_ISDIR(found.st_mode):
        return "it is no directory"
    if found.st_uid != os.geteuid():
        return "it belongs to somebody else"
    if found.st_mode & 0o077:
        return "others may look into it; chmod 700"
    return None


def reason_unsafe(path: Path) -> str | None:
    """Why a directory cannot be used for what nobody else may see; None where it can.

    One that is missing is made when it is needed, beside what is there.
    """
    try:
        return directory_fault(path.lstat())
    except FileNotFoundError:
        return None if path.parent.is_dir() else f"there is no directory {path.parent}"
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:
        return "not a file name"
