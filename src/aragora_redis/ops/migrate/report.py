"""What became of a migration, or of a step of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..report import Status
from .journal import Journal


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """The outcome, fit for text and JSON."""

    status: Status
    headline: str
    notes: tuple[str, ...] = ()
    journal: Journal | None = None

    @property
    def exit_code(self) -> int:
        """0 done, 1 done with something left to look at, or refused; 2 failed or interrupted."""
        return int(self.status)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        journal = self.journal
        return {
            "status": self.status.name,
            "headline": self.headline,
            "notes": list(self.notes),
            "state": journal.state.value if journal else None,
            "way": journal.way if journal else None,
            "write_pause_seconds": [round(each, 3) for each in journal.pauses] if journal else [],
        }
