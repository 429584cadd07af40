"""A TOML document that can say on which line a statement stands."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from msgspec import Struct

from ..errors import SettingsError

MAX_BYTES: Final = 64 * 1024

Path = tuple[str, ...]


class Document(Struct, frozen=True):
    """What a file holds, with its text."""

    source: str
    text: str
    data: dict[str, Any]

    @classmethod
    def parse(cls, content: bytes | str, source: str) -> Document:
        """Read a file's content; `source` names it in errors.

        Raises:
            SettingsError: it is too large, not UTF-8, or not TOML.
        """
        text = _decode(content, source)
        try:
            return cls(source, text, tomllib.loads(text))
        except RecursionError:
            raise SettingsError(f"{source} is nested too deeply", remedy="flatten it") from None
        except ValueError as error:
            what, _, where = str(error).partition(" (at ")
            found = re.match(r"line (\d+)", where)
            line = found[1] if found else text.rstrip("\n").count("\n") + 1
            raise SettingsError(
                f"{source}, line {line}: not TOML: {what}", remedy="correct the syntax there"
            ) from None

    def refuse(self, path: Path, what: str, remedy: str) -> NoReturn:
        """Say that the statement which defines `path` is wrong.

        Raises:
            SettingsError: always, with the statement's line.
        """
        line = _line_of(self.text, path)
        raise SettingsError(f"{self.source}, line {line}: {what}", remedy=remedy)

    def tables(self, section: str) -> Mapping[str, Any]:
        """What stands under `[section.NAME]`, by name."""
        found = self.data.get(section, {})
        if not isinstance(found, dict):
            self.refuse((section,), f"{section} is not a section", f"write [{section}.NAME]")
        return found

    def table(self, path: Path, keys: Iterable[str], *, shown: str) -> Mapping[str, Any]:
        """The section at `path`, all of whose keys are known; `shown` is how its kind is called."""
        found: Any = self.data
        for name in path:
            found = found[name]
        allowed = f"keys of [{shown}] are {', '.join(keys)}"
        dotted = ".".join(path)
        if not isinstance(found, dict):
            self.refuse(path, f"{dotted} is not a section", f"write [{dotted}]; {allowed}")
        for key in found:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1)
                meant = f"did you mean {near[0]!r}? " if near else ""
                self.refuse((*path, key), f"unknown key {key!r} in [{dotted}]", meant + allowed)
        return found


def _decode(content: bytes | str, source: str) -> str:
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(encoded) > MAX_BYTES:
        raise SettingsError(f"{source} is larger than {MAX_BYTES} bytes", remedy="shorten it")
    try:
        return encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = encoded.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"{source}, line {line}: not UTF-8", remedy="save the file as UTF-8"
        ) from None


def _line_of(text: str, path: Path) -> int:
    """The line on which the statement begins that first defines `path`.

    tomllib knows no positions, so it is asked itself: which is the shortest run of lines that it
    accepts and that holds the path? The statement follows the longest accepted run without it.
    """
    lines = text.split("\n")
    without, searched, holding = 0, 0, len(lines)
    while searched + 1 < holding:
        middle = (searched + holding) // 2
        probe, data = middle, _accepted(lines[:middle])
        while data is None and probe - 1 > searched:
            probe -= 1
            data = _accepted(lines[:probe])
        if _holds(data, path):
            holding = probe
        else:
            without = without if data is None else probe
            searched = middle
    return without + 1


def _accepted(lines: list[str]) -> dict[str, Any] | None:
    try:
        return tomllib.loads("\n".join([*lines, ""]))
    except (ValueError, RecursionError):
        return None


def _holds(data: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(data, dict) or name not in data:
            return False
        data = data[name]
    return True
