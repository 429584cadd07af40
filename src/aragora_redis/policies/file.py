"""Read the policies file. A mistake in it is answered with its line and what is allowed there."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..circuit.policy import DEFAULT as DEFAULT_CIRCUIT
from ..circuit.policy import CircuitPolicy
from ..errors import InvalidInputError, SettingsError
from ..names import validate_name
from ..rate_limit.policy import RATE_FORMS, LimitPolicy, OnOutage, parse_rate
from ..sessions.policy import DEFAULT as DEFAULT_SESSIONS
from ..sessions.policy import SessionPolicy
from ..settings.values import duration
from .document import MAX_BYTES, Document

P = TypeVar("P", CircuitPolicy, SessionPolicy)

_LIMIT_KEYS: Final = ("rate", "burst", "on_outage", "co_locate", "shadow", "lease")
_CIRCUIT_KEYS: Final = CircuitPolicy.__struct_fields__
_SESSION_KEYS: Final = SessionPolicy.__struct_fields__
_DEFAULT: Final = "default"
"""The section under `circuits` that holds for those that are not named, and below all others."""


class Policies(Struct, frozen=True):
    """What one policies file says.

    Attributes:
        circuits: those that the file names; `circuit` answers for all.
        hash: digest of all policies, by which instances see whether they agree.
    """

    limits: Mapping[str, LimitPolicy]
    circuits: Mapping[str, CircuitPolicy]
    default_circuit: CircuitPolicy
    sessions: SessionPolicy
    hash: str

    def circuit(self, name: str) -> CircuitPolicy:
        """The policy of a circuit."""
        return self.circuits.get(name, self.default_circuit)


def load_policies(path: str | Path | None) -> Policies:
    """Read a policies file; None reads the one in this package.

    Raises:
        SettingsError: the file cannot be read, or something in it is wrong.
    """
    if path is None:
        packaged = Path(__file__).parents[1] / "policies.toml"
        return parse_policies(packaged.read_bytes(), source="policies.toml")
    try:
        # What is no regular file may never end, or never begin.
        content = _head_of(Path(path)) if stat.S_ISREG(Path(path).stat().st_mode) else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"the policies file {str(path)!r} cannot be read: {reason}",
            remedy="correct ARAGORA_POLICIES, or unset it for the defaults",
        ) from error
    if content is None:
        raise SettingsError(
            f"the policies file {str(path)!r} is no regular file",
            remedy="correct ARAGORA_POLICIES, or unset it for the defaults",
        )
    return parse_policies(content, source=str(path))


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def parse_policies(content: bytes | str, *, source: str) -> Policies:
    """Read the text of a policies file; `source` names it in errors.

    Raises:
        SettingsError: something in it is wrong.
    """
    document = Document.parse(content, source)
    sections = ("limits", "circuits", "sessions")
    for section in document.data:
        if section not in sections:
            allowed = "sections are [limits.NAME], [circuits.NAME] and [sessions]"
            document.refuse((section,), f"unknown name {section!r}", allowed)
    limits = {name: _limit(document, name) for name in document.tables("limits")}
    circuits = {name: _circuit(document, name) for name in document.tables("circuits")}
    default_circuit = circuits.pop(_DEFAULT, DEFAULT_CIRCUIT)
    sessions = _sessions(document) if "sessions" in document.data else DEFAULT_SESSIONS
    said = (
        *(f"{name} {limits[name].hash}" for name in sorted(limits)),
        *(f"{name} {circuits[name]}" for name in sorted(circuits)),
        f"{default_circuit} {sessions}",
    )
    return Policies(
        limits=MappingProxyType(limits),
        circuits=MappingProxyType(circuits),
        default_circuit=default_circuit,
        sessions=sessions,
        hash=blake2b("\n".join(said).encode(), digest_size=8).hexdigest(),
    )


def _validate_name(document: Document, where: tuple[str, ...], name: str, of: str) -> None:
    try:
        validate_name(name, of)
    except InvalidInputError as error:
        document.refuse(where, f"{name[:80]!r} is not a name for {of}", error.remedy)


def _limit(document: Document, name: str) -> LimitPolicy:
    where = ("limits", name)
    _validate_name(document, where, name, "a limit")
    section = document.table(where, _LIMIT_KEYS, shown="limits.NAME")
    rate, burst, on_outage, co_locate = (section.get(key) for key in _LIMIT_KEYS[:4])
    shadow, lease = section.get("shadow", False), section.get("lease", 0)
    if rate is None:
        document.refuse(where, f"[limits.{name}] has no rate", f"add a rate {RATE_FORMS}")
    if not isinstance(rate, str):
        document.refuse((*where, "rate"), "rate is not a text", f"write one {RATE_FORMS}")
    if burst is not None and (type(burst) is not int or burst < 1):
        document.refuse((*where, "burst"), "burst is not a whole number from 1", "write it as 20")
    if on_outage is not None and on_outage not in tuple(OnOutage):
        allowed = " or ".join(f'"{value}"' for value in OnOutage)
        document.refuse((*where, "on_outage"), "unknown on_outage", f"write {allowed}")
    if type(shadow) is not bool:
        document.refuse((*where, "shadow"), "shadow is not true or false", "write true or false")
    if type(lease) is not int or lease < 0:
        document.refuse((*where, "lease"), "lease is not a whole number", "write it as 20, or 0")
    if co_locate is not None:
        _validate_location(document, (*where, "co_locate"), co_locate)
    try:
        count, period_us = parse_rate(rate)
        return LimitPolicy(
            name=name,
            count=count,
            period_us=period_us,
            burst=count if burst is None else burst,
            on_outage=None if on_outage is None else OnOutage(on_outage),
            co_locate=co_locate,
            shadow=shadow,
            lease=lease,
        )
    except InvalidInputError as error:
        document.refuse((*where, "rate"), error.message, error.remedy)


def _validate_location(document: Document, where: tuple[str, ...], beside: object) -> None:
    """A limit lies beside one that lies by itself."""
    limits = document.tables("limits")
    others = [name for name in limits if name != where[1]]
    if not isinstance(beside, str) or beside not in others:
        known = ", ".join(others) or "none is defined"
        document.refuse(where, "co_locate names no other limit", f"other limits: {known}")
    if isinstance(limits[beside], dict) and "co_locate" in limits[beside]:
        document.refuse(
            where, f"{beside} is itself co-located with another", "name that one in both"
        )


def _circuit(document: Document, name: str) -> CircuitPolicy:
    """One circuit: what it says itself, else what `[circuits.default]` says."""
    where = ("circuits", name)
    _validate_name(document, where, name, "a circuit")
    base = DEFAULT_CIRCUIT
    if name != _DEFAULT and _DEFAULT in document.data["circuits"]:
        base = _circuit(document, _DEFAULT)
    section = document.table(where, _CIRCUIT_KEYS, shown="circuits.NAME")
    return _build(document, where, section, base)


def _sessions(document: Document) -> SessionPolicy:
    where = ("sessions",)
    section = document.table(where, _SESSION_KEYS, shown="sessions")
    return _build(document, where, section, DEFAULT_SESSIONS)


def _build(document: Document, where: tuple[str, ...], section: Mapping[str, Any], base: P) -> P:
    """`base` with what the section says, checked key by key so that each has its line."""
    built = base
    for key, value in section.items():
        read = _value(document, (*where, key), value, getattr(base, key))
        try:
            built = replace(built, **{key: read})
        except InvalidInputError as error:
            document.refuse((*where, key), error.message, error.remedy or "correct the number")
    return built


def _value(document: Document, where: tuple[str, ...], value: Any, default: Any) -> Any:
    """A value of the kind that the default is of; a text is a duration where that is a time."""
    key = where[-1]
    if isinstance(default, StrEnum):
        words = type(default)
        if value not in tuple(words):
            allowed = " or ".join(f'"{each}"' for each in words)
            document.refuse(where, f"unknown {key}", f"write {allowed}")
        return words(value)
    if isinstance(default, int):
        if type(value) is not int:
            document.refuse(where, f"{key} is not a whole number", f"write it as {default}")
        return value
    if key.endswith("_rate"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            document.refuse(where, f"{key} is not a number", "0.5 is half of the calls")
        # A float does not hold an integer of any length, and none of those is a rate.
        return float(max(min(value, 2), -1))
    if not isinstance(value, str):
        document.refuse(where, f"{key} is not a text", 'write a duration like "10 seconds"')
    try:
        return duration(value)
    except ValueError:
        document.refuse(where, f"{key} is no duration", 'write it like "10 seconds"')
