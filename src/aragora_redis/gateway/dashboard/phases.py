"""The phases of an outage, one after the other, and as a bar. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .markup import Html, tag
from .timeline import Interruption
from .wording import precise

Name = Literal["election", "agreement", "connection", "first-write"]
WIDTH, HEIGHT = 1000, 14
LEAST = 4
"""Units of the bar that a phase has at least, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One of them, in seconds from the first sign; `ended` is None while it goes on.

    The names are those of the metric `failover_phase_seconds`.
    """

    name: Name
    began: float
    ended: float | None


def phases_of(it: Interruption, *, elects: bool) -> tuple[Phase, ...]:
    """Those that have begun; `elects` where somebody can name another primary."""
    marks: list[tuple[Name, float | None]] = [
        ("connection", it.linked_after),
        ("first-write", it.back_after),
    ]
    if it.refused and it.linked_after is None:
        del marks[0]
    elif it.chosen_after is not None or (elects and it.linked_after is None):
        marks[:0] = [("election", it.named_after), ("agreement", it.chosen_after)]
    found: list[Phase] = []
    began = 0.0
    for name, ended in marks:
        found.append(Phase(name, began, ended))
        if ended is None:
            break
        began = ended
    return tuple(found)


def bar(it: Interruption, now: float, *, elects: bool) -> Html:
    """The phases to scale; what they are is told beside it, so it is hidden from who listens."""
    whole = max(it.lasted(now), 0.001)
    left = 0.0
    parts = []
    for phase in phases_of(it, elects=elects):
        ended = whole if phase.ended is None else min(phase.ended, whole)
        width = max(WIDTH * (ended - phase.began) / whole, LEAST)
        left = min(max(left, WIDTH * phase.began / whole), WIDTH - LEAST)
        width = min(width, WIDTH - left)
        state = "now" if phase.ended is None else "done"
        parts.append(
            tag(
                "rect",
                tag("title", f"{phase.name}: {precise(ended - phase.began)}"),
                x=f"{left:.1f}",
                width=f"{width:.1f}",
                height=HEIGHT,
                data_phase=phase.name,
                data_state=state,
            )
        )
        left += width
    return tag(
        "svg",
        *parts,
        class_="phases",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
