"""What a run has found, as a value and as JSON. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .case import Case
from .sample import Sample
from .verdict import Answers, Verdict, judge


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case.

    Attributes:
        answers: the rounds of each entry.
        missing: why there are none of an entry.
    """

    case: Case
    answers: Answers
    missing: Mapping[str, str] = field(default_factory=dict)

    def verdicts(self) -> list[Verdict]:
        """Each bar, and whether it is reached."""
        return [judge(bar, self.answers) for bar in self.case.bars]


@dataclass(frozen=True, slots=True)
class Results:
    """All cases of a run, and where they were measured."""

    date: str
    machine: str
    server: str
    seconds: float
    rounds: int
    versions: Mapping[str, str]
    cases: Sequence[CaseResult]

    def as_json(self) -> dict[str, Any]:
        """The same as plain data, each round kept."""
        return {
            "date": self.date,
            "machine": self.machine,
            "server": self.server,
            "seconds": self.seconds,
            "rounds": self.rounds,
            "versions": dict(self.versions),
            "cases": {result.case.name: _case(result) for result in self.cases},
        }


def _case(result: CaseResult) -> dict[str, Any]:
    return {
        "title": result.case.title,
        "entries": {name: _rounds(samples) for name, samples in result.answers.items()},
        "not available": dict(result.missing),
        "bars": [_verdict(verdict) for verdict in result.verdicts()],
    }


def _rounds(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    return [sample.as_json() for sample in samples]


def _verdict(verdict: Verdict) -> dict[str, Any]:
    found = verdict.found
    return {
        **{key: value for key, value in asdict(verdict.bar).items() if value is not None},
        "unit": verdict.unit,
        "found": found._asdict() if found else None,
        "reached": verdict.reached,
    }
