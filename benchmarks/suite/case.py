"""What is measured: who runs what, which figures are shown, and beside which bars. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """One contestant's part in a case.

    Attributes:
        contestant: a module of `contestants`.
        task: which of its tasks.
        name: how it is called in the case.
        parameters: of the task.
        at: where it is on the axis of its case.
        line: which curve of its case it is a point of; none where there is but one.
    """

    contestant: str
    task: str
    name: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    at: int = 0
    line: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """What one entry has to reach.

    Attributes:
        measure: a key of `sample.MEASURES`.
        of: name of the entry.
        at_least: lower bound, or
        at_most: upper bound.
        against: another entry, in whose measure this one's is told; None for the measure itself.
        less: another entry, whose measure is taken off this one's.
    """

    measure: str
    of: str
    at_least: float | None = None
    at_most: float | None = None
    against: str | None = None
    less: str | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a bar is a lower bound or an upper one")


@dataclass(frozen=True, slots=True)
class Case:
    """A question with several answers.

    Attributes:
        name: by which it is chosen.
        title: what is asked.
        entries: who answers.
        measures: the figures shown, the telling one first.
        bars: what is to be reached.
        axis: what grows, where each entry is one point of a curve.
        long: it takes minutes, so it runs only where it is named.
    """

    name: str
    title: str
    entries: tuple[Entry, ...]
    measures: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    axis: str = ""
    long: bool = False

    def __post_init__(self) -> None:
        names = {entry.name for entry in self.entries}
        for bar in self.bars:
            if missing := {bar.of, bar.against, bar.less} - {None} - names:
                raise ValueError(f"{self.name} has no entry {missing}")
