"""Whether a switchover may begin, and who takes over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...address import Address
from ..doctor import examine
from ..report import Status
from ..survey import Survey, address_of, flags_of

_HURTS = {
    "no-majority",
    "quorum-beyond-reach",
    "sentinels-disagree",
    "sentinel-names-a-replica",
    "migration-under-way",
    "replication-cycle",
    "replica-of-another",
    "no-good-replica",
    "replica-behind",
    "link-down",
    "masterauth-missing",
    "passwords-differ",
    "unexpanded-variable",
    "persistence-failing",
    "too-few-good-replicas",
    "sentinel-conf-not-writable",
    "memory-full",
}
"""Diagnoses with which a switchover may end in an outage, or lose what was acknowledged."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no switchover was begun."""

    reasons: tuple[str, ...]
    forcible: bool = False
    """Whether it may be forced, by somebody who knows better."""
    passing: bool = False
    """Whether it will pass by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who hands over to whom."""

    master_name: str
    sentinels: tuple[Address, ...]
    """Those that answered."""
    majority: int
    """How many of them must name the new primary."""
    old: Address
    new: Address | None
    """Who is to be promoted; None for whom the Sentinels choose."""
    others: tuple[Address, ...]
    """All replicas."""
    unfinished: bool = False
    """The Sentinels name another primary already: `old` is one that was not made a replica yet."""


def plan_switchover(
    survey: Survey, *, to: Address | None = None, force: bool = False
) -> Plan | Refusal:
    """Decide about a switchover.

    Args:
        survey: what all servers say.
        to: who is to be promoted; None lets the Sentinels choose.
        force: although it may hurt.
    """
    obstacle = _obstacle(survey)
    primary = survey.primary
    if obstacle is not None or primary is None or survey.master_name is None:
        return Refusal((obstacle or "there is no primary",))
    listed = {address_of(row) for s in survey.heard.values() for row in s.replicas}
    replicas = tuple(at for at in survey.alive if at in listed and at != primary)
    total = max(len(survey.sentinels), *(len(s.fellows) + 1 for s in survey.heard.values()))
    plan = Plan(
        master_name=survey.master_name,
        sentinels=tuple(survey.heard),
        majority=total // 2 + 1,
        old=primary,
        new=to,
        others=replicas,
    )
    left_over = next((at for at in replicas if survey.alive[at].role == "master"), None)
    # In a migration that is the source, which may take the writes.
    if left_over is not None and not survey.migrating:
        return replace(plan, old=left_over, new=primary, unfinished=True)
    if any("failover_in_progress" in each.flags for each in survey.heard.values()):
        return Refusal(("a failover is in progress",), passing=True)
    if reasons := _unsuitable(to, primary, replicas):
        return Refusal(reasons)
    risks = tuple(_risks(survey, to))
    return Refusal(risks, forcible=True) if risks and not force else plan


def first_in_line(rows: Iterable[Mapping[str, Any]]) -> set[Address]:
    """Whom a Sentinel may promote next, by its own account of the replicas.

    It passes over those that it cannot reach and those of priority 0, and takes the lowest
    priority; which of several with that, the newest data decides.
    """
    priorities = {
        address_of(row): int(row["slave-priority"])
        for row in rows
        if not flags_of(row) & {"s_down", "disconnected"} and int(row["slave-priority"])
    }
    return {at for at, given in priorities.items() if given == min(priorities.values())}


def _obstacle(survey: Survey) -> str | None:
    """What no force overcomes."""
    if survey.master_name is None:
        return (
            "there are no Sentinels here: a managed service is failed over by its provider's "
            "console or API, and a single Redis has nobody to hand over to"
        )
    if survey.primary not in survey.alive:
        who = (
            "nobody who is primary" if survey.primary is None else f"no primary ({survey.primary})"
        )
        return (
            f"{who} answers: most Sentinels together replace one that is gone by themselves, and "
            "`aragora-redis doctor` says what keeps them from it"
        )
    return None


def _unsuitable(
    to: Address | None, primary: Address, replicas: tuple[Address, ...]
) -> tuple[str, ...]:
    if not replicas:
        return ("no replica answers",)
    if to == primary:
        return (f"{to} is the primary already",)
    if to is not None and to not in replicas:
        known = ", ".join(map(str, replicas))
        return (f"{to} is no replica that answers (these do: {known})",)
    return ()


def _risks(survey: Survey, to: Address | None) -> Iterator[str]:
    for each in examine(survey).diagnoses:
        dead = each.name == "server-unreachable" and each.status is Status.CRITICAL
        barred = each.name == "replica-priority-0" and each.subject == str(to)
        if each.name in _HURTS or dead or barred:
            yield each.headline
