"""Settings as rows that may be shown to anybody: secrets are masked, each value has its origin."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from .model import Settings

_HIDDEN = ("apart", "feature", "warnings", "sources")


class Row(Struct, frozen=True):
    """One value: its dotted name, its text with secrets masked, and where it came from."""

    name: str
    value: str
    source: str


def describe(settings: Settings) -> list[Row]:
    """Every value that is in effect. `source` is a variable, the URL in a variable, or `default`.

    Durations are in seconds.
    """
    shown = [("mode", settings.mode), *_flat(settings, "")]
    rows = [Row(name, _text(value), settings.sources.get(name, "default")) for name, value in shown]
    for feature, redis in settings.apart:
        own = settings.of(feature)
        whole = replace(redis, deadline=own.deadline)
        rows += [
            Row(f"{feature}.redis.{name}", _text(value), redis.sources.get(name, "default"))
            for name, value in [("mode", own.mode), *_flat(whole, "")]
        ]
    return rows


def _flat(node: Struct, prefix: str) -> Iterator[tuple[str, object]]:
    for field in node.__struct_fields__:
        name, value = prefix + field, getattr(node, field)
        if name in _HIDDEN:
            continue
        if not isinstance(value, Struct):
            yield name, value
            continue
        if name.endswith("tls"):
            yield name, True
        yield from _flat(value, f"{name}.")


def _text(value: object) -> str:
    # Address is a tuple too, and prints itself.
    if type(value) is tuple:
        return ", ".join(map(str, value))
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case _:
            return str(value)
