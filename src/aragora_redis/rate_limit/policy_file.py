"""Read the policies file. A mistake in it is answered with its line and what is allowed there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn

from ..errors import InvalidInputError, SettingsError
from .policy import RATE_FORMS, LimitPolicy, OnOutage, parse_rate, validate_name

MAX_BYTES: Final = 64 * 1024
_KEYS: Final = ("rate", "burst", "on_outage")


@dataclass(frozen=True, slots=True)
class Policies:
    """What one policies file says.

    Attributes:
        hash: digest of all policies, by which instances see whether they agree.
    """

    limits: Mapping[str, LimitPolicy]
    hash: str


def load_policies(path: str | Path | None) -> Policies:
    """Read a policies file; None reads the one in this package.

    Raises:
        SettingsError: the file cannot be read, or something in it is wrong.
    """
    if path is None:
        packaged = files(__package__.rpartition(".")[0]).joinpath("policies.toml")
        return parse_policies(packaged.read_bytes(), source="policies.toml")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"the policies file {str(path)!r} cannot be read: {reason}",
            remedy="correct ARAGORA_POLICIES, or unset it for the defaults",
        ) from error
    return parse_policies(content, source=str(path))


def parse_policies(content: bytes | str, *, source: str) -> Policies:
    """Read the text of a policies file; `source` names it in errors.

    Raises:
        SettingsError: something in it is wrong.
    """
    document = _Document.parse(content, source)
    for section in document.data:
        if section != "limits":
            document.refuse((section,), f"unknown name {section!r}", "sections are [limits.NAME]")
    sections = document.data.get("limits", {})
    if not isinstance(sections, dict):
        document.refuse(("limits",), "limits is not a section", "write [limits.NAME]")
    limits = {name: _limit(document, name) for name in sections}
    joined = "\n".join(f"{name} {limits[name].hash}" for name in sorted(limits))
    return Policies(
        limits=MappingProxyType(limits),
        hash=blake2b(joined.encode(), digest_size=8).hexdigest(),
    )


def _limit(document: _Document, name: str) -> LimitPolicy:
    where = ("limits", name)
    section = document.data["limits"][name]
    allowed = f"keys of [limits.NAME] are {', '.join(_KEYS)}"
    try:
        validate_name(name)
    except InvalidInputError as error:
        document.refuse(where, error.args[0], error.remedy)
    if not isinstance(section, dict):
        document.refuse(
            where, f"limits.{name} is not a section", f"write [limits.{name}]; {allowed}"
        )
    for key in section:
        if key not in _KEYS:
            document.refuse((*where, key), f"unknown key {key!r} in [limits.{name}]", allowed)
    return _policy(document, name, section)


def _policy(document: _Document, name: str, section: Mapping[str, Any]) -> LimitPolicy:
    where = ("limits", name)
    rate, burst, on_outage = (section.get(key) for key in _KEYS)
    if rate is None:
        document.refuse(where, f"[limits.{name}] has no rate", f"add a rate {RATE_FORMS}")
    if not isinstance(rate, str):
        document.refuse((*where, "rate"), "rate is not a text", f"write one {RATE_FORMS}")
    if burst is not None and (type(burst) is not int or burst < 1):
        document.refuse((*where, "burst"), "burst is not a whole number from 1", "write it as 20")
    if on_outage is not None and on_outage not in tuple(OnOutage):
        allowed = " or ".join(f'"{value}"' for value in OnOutage)
        document.refuse((*where, "on_outage"), "unknown on_outage", f"write {allowed}")
    try:
        count, period_us = parse_rate(rate)
        return LimitPolicy(
            name=name,
            count=count,
            period_us=period_us,
            burst=count if burst is None else burst,
            on_outage=None if on_outage is None else OnOutage(on_outage),
        )
    except InvalidInputError as error:
        document.refuse((*where, "rate"), error.args[0], error.remedy)


@dataclass(frozen=True, slots=True)
class _Document:
    source: str
    text: str
    data: dict[str, Any]

    @classmethod
    def parse(cls, content: bytes | str, source: str) -> _Document:
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

    def refuse(self, path: tuple[str, ...], what: str, remedy: str) -> NoReturn:
        line = _line_of(self.text, path)
        raise SettingsError(f"{self.source}, line {line}: {what}", remedy=remedy)


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


def _line_of(text: str, path: tuple[str, ...]) -> int:
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


def _holds(data: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(data, dict) or name not in data:
            return False
        data = data[name]
    return True
