"""`aragora-redis doctor`: named diagnoses, each with evidence, consequence and fix. Pure.

A check is a function from what was seen to what is wrong. It judges only what was answered: what a
managed service hides is not held against it.
"""

from __future__ import annotations

from typing import Any

from ..offered import unseen
from ..survey import Survey
from . import access, clusters, fleet, outboxes, replicas, roles, sentinels, storage
from .diagnosis import Check, Diagnosis, Examination

__all__ = ["CHECKS", "Check", "Diagnosis", "Examination", "examine"]

CHECKS: tuple[Check, ...] = (
    *roles.CHECKS,
    *sentinels.CHECKS,
    *clusters.CHECKS,
    *replicas.CHECKS,
    *storage.CHECKS,
    *access.CHECKS,
    *fleet.CHECKS,
    *outboxes.CHECKS,
)


def examine(survey: Survey) -> Examination:
    """Everything that is wrong, the worst first."""
    found = [diagnosis for check in CHECKS for diagnosis in check(survey)]
    facts: dict[str, Any] = {
        "primary": str(survey.primary) if survey.primary else None,
        "nodes": len(survey.alive),
        "sentinels": len(survey.heard),
    }
    if survey.cluster is not None:
        facts["primaries"] = len(survey.primaries)
    ordered = tuple(sorted(found, key=lambda each: -each.status))
    notes = (*unseen(survey.forbidden), *outboxes.notes(survey))
    return Examination(ordered, facts, notes)
