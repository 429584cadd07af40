"""Drills on a lab or a deployment: scenarios, writers, measures, a report with a picture."""

from .parts import Part, part_named, parts_of
from .picture import page
from .report import LEGEND, DrillReport
from .run import Stage, Terms, run_drill
from .scenarios import Actor, LabActor, RemoteActor, Scenario, switcher
from .service import Service

__all__ = [
    "LEGEND",
    "Actor",
    "DrillReport",
    "LabActor",
    "Part",
    "RemoteActor",
    "Scenario",
    "Service",
    "Stage",
    "Terms",
    "page",
    "part_named",
    "parts_of",
    "run_drill",
    "switcher",
]
