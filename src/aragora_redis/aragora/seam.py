"""What a seam is, and what can be said of a feature."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .versions import Checked


class Where(StrEnum):
    """Where a feature's state is."""

    REDIS = "on Redis"
    """Seen to be so, through Aragora's own functions."""
    UNSEEN = "not on Redis now"
    """The seam is in place, but Redis did not have what was tried."""
    MEMORY = "in memory of each instance"
    """The seam is in place, and had no effect."""
    ALONE = "not shared by this layer"
    REFUSED = "not supported with this version"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the self-check says of one feature."""

    feature: str
    where: Where
    detail: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.where}: {self.detail}"


class Seam(Protocol):
    """One place where Aragora lets something else stand in."""

    feature: str
    checked: Checked

    def install(self) -> None:
        """Put it in place. It must come before Aragora's handlers are imported."""

    def verify(self) -> Finding:
        """Try it through Aragora's own functions, and tell what was seen."""
