"""The stylesheet and the script, read once, under names that change with their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

PREFIX = "/dashboard/static"
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_NAMES = ("dashboard.css", "dashboard.js", "idiomorph.min.js")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    name: str
    content: bytes

    @property
    def media_type(self) -> str:
        """Its Content-Type."""
        return _TYPES[self.name.rpartition(".")[2]]

    @property
    def url(self) -> str:
        """Where it is served; another content has another one, so that it may be kept for ever."""
        return f"{PREFIX}/{self.name}?v={hashlib.sha256(self.content).hexdigest()[:12]}"


def load() -> dict[str, Asset]:
    """All of them, by name."""
    folder = files(__package__) / "static"
    return {name: Asset(name, (folder / name).read_bytes()) for name in _NAMES}
