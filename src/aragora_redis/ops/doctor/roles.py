"""Who is primary, by whose word, and who replicates whom. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...address import Address
from ..access import Failure, Fault
from ..report import Status
from ..survey import NodeSurvey, Survey
from .diagnosis import Diagnosis

GO_ON_MIGRATING = (
    "bring the migration to its end, which gives the Sentinels back what they had: aragora-redis "
    "migrate run, or rollback, where the journal is; if that is lost, set down-after-milliseconds "
    "once the primary takes writes"
)
"""What mends whatever a migration has made so: by hand it would be cut short, with data lost."""


def unreachable(survey: Survey) -> Iterator[Diagnosis]:
    """Servers that could not be asked."""
    for at, node in survey.nodes.items():
        if survey.cluster is not None and at in survey.primaries:
            continue  # what follows from that is told by slots
        if isinstance(node, Failure) and node.fault not in {Fault.DENIED, Fault.NO_CLUSTER}:
            primary = at == survey.primary
            yield Diagnosis(
                name="server-unreachable",
                status=Status.CRITICAL if primary else Status.WARNING,
                subject=f"the primary {at}" if primary else str(at),
                evidence=node.text,
                consequence="one less can take over"
                if not primary
                else "nothing can be written until it is back"
                if at == survey.endpoint
                else "nothing can be written until another one is promoted",
                fix=have_it_answer(node),
            )


def two_primaries(survey: Survey) -> Iterator[Diagnosis]:
    """Servers beside the named primary that take themselves for one."""
    if survey.master_name is None:
        return
    for at, node in survey.alive.items():
        if node.role == "master" and at != survey.primary:
            yield Diagnosis(
                name="two-primaries",
                status=Status.CRITICAL,
                subject=str(at),
                evidence=f"is a primary too, beside {survey.primary}, which the Sentinels name",
                consequence="what is written to it will be lost when it is made a replica",
                fix=GO_ON_MIGRATING
                if survey.migrating
                else f"stop its clients, then: {cli(at)} REPLICAOF {_words(survey.primary)}",
            )


def named_replica(survey: Survey) -> Iterator[Diagnosis]:
    """Sentinels that name a server which is a replica."""
    for at, sentinel in survey.heard.items():
        node = survey.alive.get(sentinel.named)
        if node is not None and node.role == "slave":
            yield Diagnosis(
                name="sentinel-names-a-replica",
                status=Status.CRITICAL if sentinel.named == survey.primary else Status.WARNING,
                subject=f"Sentinel {at}",
                evidence=f"names {sentinel.named}, which is a replica of {node.source}",
                consequence="clients that ask it write to a server that refuses, or wait for ever",
                fix=GO_ON_MIGRATING
                if survey.migrating
                else f"if it stays so for a minute: {_told_anew(survey, f'{cli(at)} ')}",
            )


def _told_anew(survey: Survey, where: str) -> str:
    """How a Sentinel gets another primary at an equal epoch, which no RESET does."""
    return (
        f"{where}SENTINEL REMOVE {survey.master_name}, then MONITOR and SET with what the others "
        "have (docs/RUNBOOK.md, Sentinels disagree)"
    )


def endpoint(survey: Survey) -> Iterator[Diagnosis]:
    """An address that leads to a server which does not take writes."""
    node = None if survey.endpoint is None else survey.alive.get(survey.endpoint)
    if node is not None and node.role == "slave":
        yield Diagnosis(
            name="endpoint-is-a-replica",
            status=Status.CRITICAL,
            subject=str(survey.endpoint),
            evidence="is a replica" + (f" of {node.source}" if node.source else ""),
            consequence="every write is refused (READONLY)",
            fix="give ARAGORA_REDIS_URL the address of the primary, or the service's name for it; "
            "during its failover wait until that has moved",
        )
    if node is not None and node.refusal is not None:
        yield Diagnosis(
            name="writes-refused",
            status=Status.CRITICAL,
            subject=str(survey.endpoint),
            evidence=f"refuses writes: {node.refusal}",
            consequence="limits are decided by each instance, and sessions are not written",
            fix="see what the service says of its state, its memory and its replicas",
        )


def sentinels_disagree(survey: Survey) -> Iterator[Diagnosis]:
    """Sentinels that name another primary than most, or another epoch for it."""
    named = {sentinel.named for sentinel in survey.heard.values()}
    if len(named) > 1:
        votes = ", ".join(f"{at}: {s.named}" for at, s in survey.heard.items())
        yield Diagnosis(
            name="sentinels-disagree",
            status=Status.CRITICAL,
            subject="the Sentinels",
            evidence=f"name different primaries ({votes})",
            consequence="clients are led to different servers",
            fix="let them reach each other; tell one that stays behind anew: "
            + _told_anew(survey, "on it: "),
        )
        return
    epochs = {at: sentinel.epoch for at, sentinel in survey.heard.items()}
    if len(set(epochs.values())) > 1:
        newest = max(epochs.values())
        behind = [str(at) for at, epoch in epochs.items() if epoch < newest]
        yield Diagnosis(
            name="sentinel-epochs-differ",
            status=Status.WARNING,
            subject=f"Sentinel {', '.join(behind)}",
            evidence=f"is behind epoch {newest} of the others",
            consequence="it has not heard of the last failover, or was rebuilt without its state",
            fix="let it reach the servers and the others: what they publish brings it up to date",
        )


def replication(survey: Survey) -> Iterator[Diagnosis]:
    """Replicas that follow nobody who leads to the primary."""
    alive = survey.alive
    for at, node in alive.items():
        if node.role == "master" or node.source is None or at == survey.endpoint:
            continue
        cycle = _cycle(at, alive)
        if cycle:
            if at == min(cycle):
                yield Diagnosis(
                    name="replication-cycle",
                    status=Status.CRITICAL,
                    subject=" -> ".join(map(str, (*cycle, cycle[0]))),
                    evidence="replicate each other, and no primary",
                    consequence="none of them will ever see a write",
                    fix=f"{cli(at)} REPLICAOF "
                    + (_words(survey.primary) if survey.primary not in cycle else "NO ONE"),
                )
        elif survey.primary not in {None, at, node.source}:  # of itself, see named_replica
            yield Diagnosis(
                name="replica-of-another",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"replicates {node.source}, and not the primary {survey.primary}",
                consequence="it misses writes, and cannot take over",
                fix=f"{cli(at)} REPLICAOF {_words(survey.primary)}",
            )


CHECKS = (unreachable, two_primaries, named_replica, endpoint, sentinels_disagree, replication)


def have_it_answer(silent: Failure) -> str:
    """What is done about a server that cannot be reached."""
    if silent.nameless:
        return "correct the host in the settings, or have it resolved here"
    return "start it, or see what lies between: aragora-redis doctor --connect"


def cli(address: Address) -> str:
    """How a server is asked by hand."""
    return f"redis-cli -h {address.host} -p {address.port}"


def _words(address: Address | None) -> str:
    return f"{address.host} {address.port}" if address else "HOST PORT"


def _cycle(start: Address, alive: dict[Address, NodeSurvey]) -> list[Address]:
    """The servers that replicate each other in a ring with `start`."""
    path: list[Address] = []
    at: Address | None = start
    while at is not None and at not in path:
        path.append(at)
        node = alive.get(at)
        at = node.source if node is not None else None
    return path if at == start else []
