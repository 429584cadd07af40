"""What became of a drill."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..report import Status
from .canaries import WRITE_LIMIT
from .measures import OURS, PEER, Objectives, Verdict
from .records import Records
from .scenarios import Scenario

LEGEND = (
    "Failed: certainly not written.",
    "Unknown: may have been written, nobody can say.",
    "Lost: acknowledged, and not there at the end.",
    f"{OURS} gives each write up to {WRITE_LIMIT:g} s to be acknowledged, {PEER} its defaults.",
    "Rate limits do not wait like that, and are not measured.",
)
"""How the figures of the writers are to be read."""


@dataclass(frozen=True, slots=True)
class DrillReport:
    """The outcome, fit for text, JSON and HTML. `verdict` is None where nothing was drilled."""

    scenario: Scenario
    objectives: Objectives
    verdict: Verdict | None = None
    records: Records | None = None
    refused: tuple[str, ...] = ()
    """Why nothing was begun."""
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """OK: the objectives held. CRITICAL: nothing was drilled.

        WARNING: one was missed, or a fault that may not have been made was seen by nobody.
        """
        if self.verdict is None:
            return Status.CRITICAL
        return Status.WARNING if self.verdict.missed else Status.OK

    @property
    def exit_code(self) -> int:
        """0 the objectives held, 1 one was missed or the fault not seen, 2 nothing was drilled."""
        return int(self.status)

    @property
    def headline(self) -> str:
        """One line."""
        if self.verdict is None:
            return f"REFUSED: {self.scenario} was not begun: {'; '.join(self.refused)}"
        ours = self.verdict.writers[OURS]
        if self.verdict.missed:
            return f"MISSED: {self.scenario}: {'; '.join(self.verdict.missed)}"
        return (
            f"HELD: {self.scenario}: {ours.gap:.1f} s without a write, {ours.lost} of "
            f"{ours.acknowledged} acknowledged writes lost"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        records = self.records
        return {
            "scenario": self.scenario.value,
            "status": self.status.name,
            "headline": self.headline,
            "objectives": asdict(self.objectives),
            "verdict": asdict(self.verdict) if self.verdict else None,
            "refused": list(self.refused),
            "notes": list(self.notes),
            "fault_at": records.fault_at if records else None,
            "mended_at": records.mended_at if records else None,
            "announcements": [said._asdict() for said in records.announcements] if records else [],
            "errors": records.errors if records else {},
        }
