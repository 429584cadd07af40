"""What the settings name on disk: whether it can be used, and the secrets that files hold."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import SettingsError
from .secret import Secret, unexpanded

IS_LINK = "it is a symbolic link; name the directory itself"
NO_DIRECTORY = "it is no directory"
OF_ANOTHER = "it belongs to somebody else"
IS_OPEN = "others may look into it; chmod 700"


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


def directory_fault(found: os.stat_result, owner: int | None = None) -> str | None:
    """What is wrong with a directory that nobody but its owner, or we, may look into, or None."""
    if stat.S_ISLNK(found.st_mode):
        return IS_LINK
    if not stat.S_ISDIR(found.st_mode):
        return NO_DIRECTORY
    if found.st_uid != (os.geteuid() if owner is None else owner):
        return OF_ANOTHER
    return IS_OPEN if found.st_mode & 0o077 else None


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


def secret_in(path: Path, what: str, variable: str) -> Secret:
    """The secret that a file holds alone. One line break at its end is not part of it.

    Messages say of what kind it is, and which variable names the file.

    Raises:
        SettingsError: the file cannot be read, is empty, is not UTF-8, or was never filled in.
    """
    remedy = f"check {variable}"
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            f"the {what} file {path} cannot be read: {reason}", remedy=remedy
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"the {what} file {path} is not UTF-8 text", remedy=remedy) from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise SettingsError(f"the {what} file {path} is empty", remedy=remedy)
    if unexpanded(secret):
        raise SettingsError(
            f"the {what} file {path} holds a placeholder that was never expanded", remedy=remedy
        )
    return Secret(secret)
