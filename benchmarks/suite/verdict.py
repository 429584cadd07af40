"""Whether a bar is reached, and by how much. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .case import Bar
from .sample import MEASURES, Figure, Sample, figure, over_rounds, ratio

TIMES = "\N{MULTIPLICATION SIGN}"
Answers = Mapping[str, Sequence[Sample]]
"""The rounds of each entry by its name; those that could not be had are missing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was measured; `found` is None where an entry could not be had."""

    bar: Bar
    found: Figure | None

    @property
    def reached(self) -> bool | None:
        """Whether it is; None where that is not known."""
        if self.found is None:
            return None
        if self.bar.at_least is not None:
            return self.found.middle >= self.bar.at_least
        return self.found.middle <= (self.bar.at_most or 0.0)

    @property
    def margin(self) -> float | None:
        """How much better than the bar, as a factor: less than 1 where it is not reached."""
        if self.found is None or not self.found.middle:
            return None
        if self.bar.at_least is not None:
            return self.found.middle / self.bar.at_least
        return (self.bar.at_most or 0.0) / self.found.middle

    @property
    def unit(self) -> str:
        """What the figure and the bar are counted in."""
        return TIMES if self.bar.against else MEASURES[self.bar.measure].unit


def judge(bar: Bar, answers: Answers) -> Verdict:
    """Hold the rounds against a bar."""
    ours = answers.get(bar.of)
    other = bar.against or bar.less
    theirs = answers.get(other) if other else ()
    if not ours or theirs is None:
        return Verdict(bar, None)
    if bar.against:
        return Verdict(bar, ratio(bar.measure, ours, theirs))
    if bar.less:
        of = MEASURES[bar.measure].of
        pairs = zip(ours, theirs, strict=True)
        return Verdict(bar, over_rounds([of(one) - of(base) for one, base in pairs]))
    return Verdict(bar, figure(bar.measure, ours))
