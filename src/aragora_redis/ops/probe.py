"""The questions that an orchestrator asks of a deployment: live, ready, started. Pure."""

from __future__ import annotations

from enum import StrEnum

from .access import Failure, Fault
from .report import HealthReport, Status
from .verdict import NodeSeen, SentinelAnswers


class Probe(StrEnum):
    """One question, answered with 0 for yes and 2 for no. None of them is about redundancy."""

    LIVE = "live"
    """Whether anything answers, be it with a refusal: a restart would not help."""
    READY = "ready"
    """Whether the primary takes writes now."""
    STARTUP = "startup"
    """Whether the primary is known and has loaded its data, whether or not it takes writes yet."""


def judge_probe(
    probe: Probe, answers: SentinelAnswers, node: NodeSeen | Failure | None
) -> HealthReport:
    """Answer one question.

    Args:
        probe: which.
        answers: of each configured Sentinel; none where there are none.
        node: what the primary says of itself; None where nobody names one.
    """
    problem = {Probe.LIVE: _dead, Probe.READY: _refusing, Probe.STARTUP: _starting}[probe](
        answers, node
    )
    if problem is None:
        return HealthReport(Status.OK, f"OK: {probe}")
    return HealthReport(Status.CRITICAL, f"CRITICAL: not {probe}: {problem}")


def _dead(answers: SentinelAnswers, node: NodeSeen | Failure | None) -> str | None:
    heard = [each for each in (*answers.values(), node) if each is not None]
    silent = (isinstance(each, Failure) and each.fault is Fault.UNREACHABLE for each in heard)
    return "nothing answers" if all(silent) else None


def _starting(answers: SentinelAnswers, node: NodeSeen | Failure | None) -> str | None:
    if node is None:
        failed = next((each for each in answers.values() if isinstance(each, Failure)), None)
        return f"no Sentinel names a primary; one {failed.text}" if failed else "no primary"
    if isinstance(node, Failure):
        return f"the primary {node.text}"
    return "the primary is loading its data" if node.loading else None


def _refusing(answers: SentinelAnswers, node: NodeSeen | Failure | None) -> str | None:
    if not isinstance(node, NodeSeen) or node.loading:
        return _starting(answers, node)
    if node.role == "slave":
        return "who is named as primary is a replica"
    if node.refusal is not None:
        return f"the primary refuses writes: {node.refusal}"
    return None if node.has_good_replicas else "the primary refuses writes: too few good replicas"
