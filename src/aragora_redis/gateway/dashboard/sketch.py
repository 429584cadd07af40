"""What the picture of the topology shows: boxes, and what ties them together. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .wording import count

Part = Literal["gateway", "primary", "replica", "sentinel"]
Condition = Literal["well", "troubled", "frozen", "gone", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One process.

    Attributes:
        id: tells it from all others, as long as it exists.
        condition: how it is, for colour and glyph,
        words: and in words.
        notes: lines with more.
        leads: whether it is the primary whose writes count.
    """

    id: str
    kind: Part
    name: str
    role: str
    condition: Condition
    words: str
    notes: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        """Whether it is the primary whose writes count."""
        return self.kind == "primary"


@dataclass(frozen=True, slots=True)
class Tie:
    """What one does to another: `writes` to it, `feeds` it (replication), `names` it primary."""

    source: str
    target: str
    does: Literal["writes", "feeds", "names"]
    whole: bool
    label: str = ""


@dataclass(frozen=True, slots=True)
class Sketch:
    """All of it. A group is a primary with its replicas; there are several in a cluster."""

    gateway: Box
    groups: tuple[tuple[Box, ...], ...] = ()
    sentinels: tuple[Box, ...] = ()
    ties: tuple[Tie, ...] = ()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """All boxes but the gateway's."""
        return (*(box for group in self.groups for box in group), *self.sentinels)


def sentence(sketch: Sketch) -> str:
    """The picture for who does not see it."""
    told = [f"{box.name}: {box.role}, {box.words}" for box in sketch.boxes]
    servers = count(sum(map(len, sketch.groups)), "server")
    return f"{servers} and {count(len(sketch.sentinels), 'Sentinel')}. " + "; ".join(told)
