"""What a doctor finds: a name, what was seen, what follows from it, and what mends it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..report import Status, whose
from ..survey import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One thing that is wrong."""

    name: str
    """Stable, for scripts and runbooks."""
    status: Status
    subject: str
    """The server, or the group of them, that it is about."""
    evidence: str
    """What was seen."""
    consequence: str
    """What happens, or can happen, because of it."""
    fix: str
    """What mends it, exact enough to be pasted where a command can."""

    @property
    def headline(self) -> str:
        """One line."""
        return f"{self.name}: {self.subject} {self.evidence}"


Check = Callable[[Survey], Iterable[Diagnosis]]


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found, the worst first."""

    diagnoses: tuple[Diagnosis, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What could not be seen, or is worth knowing, and is nobody's fault."""

    @classmethod
    def of_several(cls, several: Mapping[str, Examination]) -> Examination:
        """Several that one deployment uses as one, by the features whose Redis each is."""
        diagnoses = [
            replace(diagnosis, subject=f"{whose(name)}: {diagnosis.subject}")
            for name, each in several.items()
            for diagnosis in each.diagnoses
        ]
        counted = ("nodes", "sentinels")
        return cls(
            tuple(sorted(diagnoses, key=lambda each: -each.status)),
            {what: sum(each.facts.get(what, 0) for each in several.values()) for what in counted}
            | {"redis": {name: each.facts for name, each in several.items()}},
            tuple(
                f"{whose(name)}: {note}" for name, each in several.items() for note in each.notes
            ),
        )

    def named(self, variable: Callable[[str], str]) -> Examination:
        """The same, with the variables that lead to this Redis; see `Settings.variable`."""
        told = tuple(replace(each, fix=variable(each.fix)) for each in self.diagnoses)
        return replace(self, diagnoses=told)

    @property
    def status(self) -> Status:
        """That of the worst."""
        return max((each.status for each in self.diagnoses), default=Status.OK)

    @property
    def exit_code(self) -> int:
        """0 nothing found, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
        return int(self.status)

    @property
    def headline(self) -> str:
        """One line: the status, and why."""
        if not self.diagnoses:
            nodes, primaries = self.facts.get("nodes", 0), self.facts.get("primaries")
            others = _counted(self.facts.get("sentinels", 0), "Sentinel")
            if primaries is not None:
                others = f"{primaries} of them primaries"
            return f"OK: nothing is wrong ({_counted(nodes, 'server')}, {others})"
        worst, *rest = self.diagnoses
        more = f" (and {len(rest)} more)" if rest else ""
        return f"{worst.status.name}: {worst.headline}{more}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status.name,
            "headline": self.headline,
            "diagnoses": [
                {
                    "name": each.name,
                    "status": each.status.name,
                    "subject": each.subject,
                    "evidence": each.evidence,
                    "consequence": each.consequence,
                    "fix": each.fix,
                }
                for each in self.diagnoses
            ],
            "facts": self.facts,
            "notes": list(self.notes),
        }


def _counted(many: int, noun: str) -> str:
    return f"{many} {noun}" if many == 1 else f"{many} {noun}s"
