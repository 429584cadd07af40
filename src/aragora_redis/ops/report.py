"""What an operation found, as a value that text and JSON are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

MEMORY_FULL, MEMORY_NEARLY = 0.95, 0.80
"""Parts of maxmemory from which it is said."""
MOST_BACKLOG = 0.25
"""Part of maxmemory that the backlog of replication may be: it counts towards it."""


class Status(IntEnum):
    """How good it is. The number is the exit code, as monitoring plugins agreed on it."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    status: Status
    text: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of one Redis topology."""

    status: Status
    headline: str
    """One line: the status, and why."""
    findings: tuple[Finding, ...] = ()
    """The worst first."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was counted, fit for JSON."""
    notes: tuple[str, ...] = ()
    """What could not be seen, and is nobody's fault."""
    parts: Mapping[str, HealthReport] = field(default_factory=dict)
    """Those of several, where this is of them together, by the features whose Redis each is."""

    def named(self, variable: Callable[[str], str]) -> HealthReport:
        """The same, with the variables that lead to this Redis; see `Settings.variable`."""
        told = tuple(Finding(each.status, variable(each.text)) for each in self.findings)
        return replace(self, headline=variable(self.headline), findings=told)

    @property
    def exit_code(self) -> int:
        """0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
        return int(self.status)

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        parts = {name: part.as_dict() for name, part in self.parts.items()}
        return {
            "status": self.status.name,
            "headline": self.headline,
            "findings": [
                {"status": finding.status.name, "text": finding.text} for finding in self.findings
            ],
            "facts": self.facts,
            "notes": list(self.notes),
            **({"redis": parts} if parts else {}),
        }


def together(parts: Mapping[str, HealthReport]) -> HealthReport:
    """The health of several that one deployment uses: that of the worst, and what is said of each.

    Args:
        parts: by the features whose Redis each is.
    """
    # What nobody could see is no worse than what somebody saw break.
    grave = (Status.OK, Status.WARNING, Status.UNKNOWN, Status.CRITICAL)
    worst = max(parts, key=lambda name: grave.index(parts[name].status))
    said = [
        (finding.status, f"{whose(name)}: {finding.text}")
        for name, part in parts.items()
        for finding in part.findings or _told(part)
    ]
    status = parts[worst].status
    headline = parts[worst].headline.removeprefix(f"{status.name}: ")
    if status is Status.OK:
        headline = "; ".join(
            f"{whose(name)}: {part.headline.removeprefix('OK: ')}" for name, part in parts.items()
        )
    else:
        headline = f"{whose(worst)}: {headline}"
    return HealthReport(
        status,
        f"{status.name}: {headline}",
        tuple(Finding(*each) for each in sorted(said, key=lambda each: -each[0])),
        notes=tuple(
            f"{whose(name)}: {note}" for name, part in parts.items() for note in part.notes
        ),
        parts=parts,
    )


def _told(part: HealthReport) -> tuple[Finding, ...]:
    """What is wrong with one that has no findings: it could not be looked at."""
    if part.status is Status.OK:
        return ()
    return (Finding(part.status, part.headline.removeprefix(f"{part.status.name}: ")),)


def whose(features: str) -> str:
    """What the Redis of some features is called."""
    return f"the Redis of {features}"


def report(
    findings: list[Finding],
    *,
    healthy: str,
    facts: dict[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> HealthReport:
    """The worst finding is the headline; without any it is OK, in the words of `healthy`."""
    ordered = tuple(sorted(findings, key=lambda finding: -finding.status))
    if not ordered:
        return HealthReport(Status.OK, f"OK: {healthy}", facts=facts or {}, notes=notes)
    worst = ordered[0]
    headline = f"{worst.status.name}: {worst.text}"
    return HealthReport(worst.status, headline, ordered, facts or {}, notes)
