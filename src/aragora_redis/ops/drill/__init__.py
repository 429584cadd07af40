"""Drills on a lab or a deployment: scenarios, writers, measures, a report with a picture."""

from .picture import page
from .report import DrillReport
from .run import Terms, run_drill
from .scenarios import LabActor, RemoteActor, Scenario, switcher

__all__ = [
    "DrillReport",
    "LabActor",
    "RemoteActor",
    "Scenario",
    "Terms",
    "page",
    "run_drill",
    "switcher",
]
