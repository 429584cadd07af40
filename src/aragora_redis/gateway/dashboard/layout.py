"""Where the boxes of a sketch stand, on a wide screen and on a narrow one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .sketch import Box, Sketch

WIDE, TALL = 960.0, 340.0
"""Units across; one is about a pixel."""
HIGH, LOW = 104.0, 80.0
"""Heights of a server's box, and of one with less to say."""
ABREAST = 4
"""Shards beside each other on a wide screen."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A box's place."""

    box: Box
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Layout:
    """All places, and how lines run between them.

    Attributes:
        flow: `across` the page (but down from Sentinels), `down` the page, or across with a `bus`
            from the gateway down the left edge.
        names: whether there is a way for the ties of Sentinels.
    """

    spots: tuple[Spot, ...]
    width: float
    flow: Literal["across", "down", "bus"]
    names: bool = False

    @property
    def height(self) -> float:
        """Units down."""
        return max(spot.y + spot.height for spot in self.spots)


def wide(sketch: Sketch) -> Layout:
    """For a screen on which a row of three boxes can be read."""
    if len(sketch.groups) > 1:
        return Layout(tuple(_wide_shards(sketch)), WIDE, "down")
    return Layout(tuple(_wide_group(sketch)), WIDE, "across", names=True)


def tall(sketch: Sketch) -> Layout:
    """For a phone."""
    if len(sketch.groups) > 1:
        return Layout(tuple(_tall_shards(sketch)), TALL, "bus")
    return Layout(tuple(_tall_group(sketch)), TALL, "down")


def _wide_group(sketch: Sketch) -> Iterator[Spot]:
    """The gateway, the primary, the replicas, from left to right; the Sentinels above."""
    top = 0.0
    if sketch.sentinels:
        yield from _row(sketch.sentinels, 0.0, WIDE, width=190.0, gap=36.0, height=LOW)
        top = LOW + 64.0
    leads, replicas = _parted(sketch.groups[0]) if sketch.groups else ((), ())
    down = max(len(replicas), 1) * (HIGH + 20.0) - 20.0
    middle = top + (down - HIGH) / 2
    yield Spot(sketch.gateway, 0.0, middle + (HIGH - LOW) / 2, 190.0, LOW)
    for number, box in enumerate(leads):
        yield Spot(box, 360.0, middle + number * (HIGH + 20.0), 240.0, HIGH)
    for number, box in enumerate(replicas):
        yield Spot(box, 740.0, top + number * (HIGH + 20.0), 220.0, HIGH)


def _wide_shards(sketch: Sketch) -> Iterator[Spot]:
    """The gateway above, a column for each shard."""
    yield Spot(sketch.gateway, (WIDE - 220.0) / 2, 0.0, 220.0, LOW)
    top = LOW + 56.0
    for first in range(0, len(sketch.groups), ABREAST):
        groups = sketch.groups[first : first + ABREAST]
        width = 220.0
        gap = (WIDE - len(groups) * width) / (len(groups) + 1) if len(groups) < ABREAST else 26.0
        left = gap if len(groups) < ABREAST else 0.0
        for column, group in enumerate(groups):
            for number, box in enumerate(group):
                x, y = left + column * (width + gap), top + number * (HIGH + 44.0)
                yield Spot(box, x, y, width, HIGH)
        top += max(map(len, groups)) * (HIGH + 44.0) + 12.0


def _tall_group(sketch: Sketch) -> Iterator[Spot]:
    """The gateway, the primary, the replicas, the Sentinels, one below the other."""
    yield Spot(sketch.gateway, 60.0, 0.0, 220.0, LOW)
    y = LOW + 44.0
    leads, replicas = _parted(sketch.groups[0]) if sketch.groups else ((), ())
    for box in leads:
        yield Spot(box, 40.0, y, 260.0, HIGH)
        y += HIGH + 56.0
    for first in range(0, len(replicas), 2):
        pair = replicas[first : first + 2]
        yield from _row(pair, y, TALL, width=162.0, gap=16.0, height=HIGH)
        y += HIGH + 20.0
    for first in range(0, len(sketch.sentinels), 3):
        three = sketch.sentinels[first : first + 3]
        yield from _row(three, y, TALL, width=106.0, gap=11.0, height=LOW)
        y += LOW + 11.0


def _tall_shards(sketch: Sketch) -> Iterator[Spot]:
    """A row for each shard, the primary left of its replicas; the gateway above."""
    yield Spot(sketch.gateway, 0.0, 0.0, 220.0, LOW)
    y = LOW + 28.0
    for group in sketch.groups:
        leads, replicas = _parted(group)
        for number, box in enumerate(leads):
            yield Spot(box, 18.0, y + number * (HIGH + 8.0), 146.0, HIGH)
        for number, box in enumerate(replicas):
            yield Spot(box, 194.0, y + number * (HIGH + 8.0), 146.0, HIGH)
        y += max(len(leads), len(replicas)) * (HIGH + 8.0) + 12.0


def _row(
    boxes: Sequence[Box], y: float, across: float, *, width: float, gap: float, height: float
) -> Iterator[Spot]:
    """Beside each other in the middle, narrower where there are many."""
    width = min(width, (across - (len(boxes) - 1) * 10.0) / len(boxes))
    if len(boxes) > 1:
        gap = min(gap, (across - len(boxes) * width) / (len(boxes) - 1))
    left = (across - len(boxes) * width - (len(boxes) - 1) * gap) / 2
    for number, box in enumerate(boxes):
        yield Spot(box, left + number * (width + gap), y, width, height)


def _parted(group: Sequence[Box]) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """The primary of a group, and its replicas."""
    leads = tuple(box for box in group if box.leads)
    return leads, tuple(box for box in group if not box.leads)
