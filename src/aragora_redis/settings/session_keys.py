"""The named keys under which sessions are stored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from ..errors import SettingsError
from .secret import Secret, unexpanded

LEAST = 32
"""Characters of a key: 128 bits in hexadecimal, 192 in base64."""
MOST_KEYS = 16
KEYS_FORM = "`name:key,name:key`, each key a random text of at least 32 characters"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)


class NamedKey(NamedTuple):
    """A key, and what it is called in what it has sealed."""

    name: str
    secret: Secret

    def __repr__(self) -> str:
        return f"{self.name}:{self.secret!r}"


def parse_keys(text: str) -> tuple[NamedKey, ...]:
    """Keys separated by commas or lines; the first seals, all open.

    Raises:
        ValueError: says what is wrong, without quoting it.
    """
    entries = [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    if not 1 <= len(entries) <= MOST_KEYS:
        raise ValueError(f"it holds no key, or more than {MOST_KEYS}")
    keys = []
    for entry in entries:
        name, _, secret = entry.partition(":")
        if _NAME.fullmatch(name) is None or not secret:
            raise ValueError("an entry is not name:key, the name of letters, digits, `_`, `.`, `-`")
        if unexpanded(secret):
            raise ValueError("it holds a placeholder that was never expanded")
        if len(secret) < LEAST:
            raise ValueError(f"a key is shorter than {LEAST} characters")
        keys.append(NamedKey(name, Secret(secret)))
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("two keys have one name")
    return tuple(keys)


class SessionKeySource(Struct, frozen=True):
    """Keys as a value, or in a file that is read again and again."""

    keys: tuple[NamedKey, ...] = ()
    file: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.keys) or self.file is not None

    def read(self) -> tuple[NamedKey, ...]:
        """The keys that hold now.

        Raises:
            SettingsError: the file cannot be read, or holds something else.
        """
        if self.file is None:
            return self.keys
        try:
            return parse_keys(self.file.read_bytes().decode())
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except UnicodeDecodeError:
            reason = "it is not UTF-8 text"
        except ValueError as error:
            reason = str(error)
        raise SettingsError(
            f"the session keys in {self.file} cannot be used: {reason}",
            remedy="check ARAGORA_SESSION_KEYS_FILE",
        )


NO_KEYS = SessionKeySource()
