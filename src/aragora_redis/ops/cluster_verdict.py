"""What the nodes of a Redis Cluster said, and how healthy that makes it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..address import Address
from ..slots import SLOTS
from .access import Failure, Fault
from .cluster_view import ClusterView, Holder, count_slots, told_slots
from .probe import Probe
from .report import Finding, HealthReport, Status, report
from .survey import NodeSurvey, Survey
from .verdict import NodeSeen, Usage, count_of, node_findings

LAG_SECONDS = 5
"""Seconds without an acknowledgement after which a replica does not keep up."""
USUAL_TIMEOUT_MS = 15_000
"""What cluster-node-timeout is where nobody sets it, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A primary with its slots, and what keeps it from serving them."""

    holder: Holder
    node: NodeSurvey | Failure
    good_replicas: int
    problem: str | None
    """As the end of a sentence that begins with its name; None where it serves."""


def shards_of(survey: Survey, view: ClusterView) -> tuple[Shard, ...]:
    """All primaries that hold slots."""
    return tuple(_shard(survey, view, holder) for holder in view.holders)


def node_timeout(node: NodeSurvey | None) -> float:
    """Seconds of silence after which a node calls another one down (cluster-node-timeout)."""
    told = node.setting("cluster-node-timeout") if node is not None else None
    return (told or USUAL_TIMEOUT_MS) / 1000


def keeps_up(survey: Survey, view: ClusterView, holder: Holder, replica: Address) -> bool:
    """Whether a replica could take over from a primary with next to nothing lost."""
    node = survey.alive.get(replica)
    if node is None or view.is_missed(replica) or node.info.get("master_link_status") != "up":
        return False
    primary = survey.alive.get(holder.address)
    row = primary.followers.get(replica) if primary is not None else None
    # Known to its primary by another address, it is judged by its own word.
    return row is None or (row["state"] == "online" and int(row["lag"]) <= LAG_SECONDS)


def judge_cluster(survey: Survey, view: ClusterView) -> HealthReport:
    """The health of a cluster, by what all its nodes said."""
    if not view.words:
        return report(
            [Finding(Status.CRITICAL, nobody(survey)), *_down(survey, view, frozenset())],
            healthy="",
            facts={"primaries": 0, "primaries_serving": 0, "slots": SLOTS, "slots_served": 0},
        )
    shards = shards_of(survey, view)
    replicas = sum(len(shard.holder.replicas) for shard in shards)
    good = sum(shard.good_replicas for shard in shards)
    serving = [shard for shard in shards if shard.problem is None]
    findings = [
        *_votes(view),
        *_lost_slots(view, shards),
        *_full(shards),
        *_unguarded(shards),
        *_down(survey, view, frozenset(shard.holder.address for shard in shards)),
        *_disagreement(view),
    ]
    return report(
        findings,
        healthy=f"Redis Cluster healthy ({_primaries(len(shards))}, "
        f"{count_of(good, 'replica')}, {SLOTS} slots)",
        facts={
            "replicas": replicas,
            "replicas_good": good,
            "primaries": len(shards),
            "primaries_serving": len(serving),
            "slots": SLOTS,
            "slots_served": sum(count_slots(shard.holder.slots) for shard in serving),
            **_used(shards),
        },
    )


def judge_cluster_probe(probe: Probe, survey: Survey, view: ClusterView) -> HealthReport:
    """Answer one question of an orchestrator; ready is a cluster all of whose slots are served."""
    problem = {Probe.LIVE: _dead, Probe.READY: _refusing, Probe.STARTUP: _starting}[probe](
        survey, view
    )
    if problem is None:
        return HealthReport(Status.OK, f"OK: {probe}")
    return HealthReport(Status.CRITICAL, f"CRITICAL: not {probe}: {problem}")


def _dead(survey: Survey, _view: ClusterView) -> str | None:
    nodes = survey.nodes.values()
    silent = (isinstance(n, Failure) and n.fault is Fault.UNREACHABLE for n in nodes)
    return "nothing answers" if all(silent) else None


def _starting(survey: Survey, view: ClusterView) -> str | None:
    if not view.words:
        return nobody(survey)
    if view.gaps:
        return f"{_slots(count_slots(view.gaps))} held by nobody"
    for holder in view.holders:
        node = survey.nodes.get(holder.address)
        if not isinstance(node, NodeSurvey):
            return f"the primary {holder.address} {_silence(node)}"
        if node.info.get("loading"):
            return f"the primary {holder.address} is still loading its data"
    return None


def _refusing(survey: Survey, view: ClusterView) -> str | None:
    if (problem := _starting(survey, view)) is not None:
        return problem
    for shard in shards_of(survey, view):
        at, node = shard.holder.address, shard.node
        if shard.problem is not None:
            return f"the primary {at} {shard.problem}"
        if isinstance(node, NodeSurvey) and not _seen(node).has_good_replicas:
            return f"the primary {at} refuses writes: too few good replicas"
    return None


def _shard(survey: Survey, view: ClusterView, holder: Holder) -> Shard:
    at = holder.address
    node = survey.nodes.get(at)
    good = sum(keeps_up(survey, view, holder, replica) for replica in holder.replicas)
    if not isinstance(node, NodeSurvey):
        silent = node or Failure(Fault.UNREACHABLE, _silence(None))
        return Shard(holder, silent, good, silent.text)
    return Shard(holder, node, good, _problem(view, at, node))


def _problem(view: ClusterView, at: Address, node: NodeSurvey) -> str | None:
    if node.info.get("loading"):
        return "is still loading its data"
    if at not in view.words:
        return "is another node than the one that holds the slots"
    if view.words[at].state != "ok":
        return "refuses commands (cluster_state fail)"
    if node.role != "master":
        return "has become a replica"
    if view.is_missed(at):
        return "is down for most primaries"
    return None


def _silence(node: Failure | NodeSurvey | None) -> str:
    return node.text if isinstance(node, Failure) else "was not asked"


def nobody(survey: Survey) -> str:
    """Why no node of the cluster is heard."""
    failures = [node for node in survey.nodes.values() if isinstance(node, Failure)]
    for fault in (Fault.NO_CLUSTER, Fault.DENIED, Fault.REFUSED):
        told = [at for at, n in survey.nodes.items() if isinstance(n, Failure) and n.fault is fault]
        if told:
            text = next(each.text for each in failures if each.fault is fault)
            return f"no node of the cluster can be heard: {told[0]} {text}"
    return f"no node of the cluster answers ({count_of(len(failures), 'node')} asked)"


def _lost_slots(view: ClusterView, shards: tuple[Shard, ...]) -> Iterator[Finding]:
    if view.gaps:
        yield Finding(
            Status.CRITICAL,
            f"{_slots(count_slots(view.gaps))} held by nobody ({told_slots(view.gaps)})",
        )
    for shard in shards:
        if shard.problem is not None:
            slots = shard.holder.slots
            heirs = shard.good_replicas or any(view.words.get(r) for r in shard.holder.replicas)
            yield Finding(
                Status.CRITICAL,
                f"the primary {shard.holder.address} of {count_of(count_slots(slots), 'slot')} "
                f"({told_slots(slots)}) {shard.problem}"
                + ("" if heirs else ", and no replica of it answers"),
            )
    replicas = [at for at in view.failed if at not in {s.holder.address for s in shards}]
    if replicas:
        yield Finding(
            Status.WARNING,
            f"{_names(replicas)}: the cluster does not work as seen from there "
            "(cluster_state fail)",
        )


def _votes(view: ClusterView) -> Iterator[Finding]:
    voting, total = len(view.voters), len(view.holders)
    if total and voting < view.majority:
        yield Finding(
            Status.CRITICAL,
            f"{voting} of {_primaries(total)} {'answers' if voting == 1 else 'answer'}: "
            f"no failover is possible (majority {view.majority})",
        )


def _full(shards: tuple[Shard, ...]) -> Iterator[Finding]:
    for shard in shards:
        if isinstance(shard.node, NodeSurvey) and shard.problem is None:
            yield from node_findings(shard.holder.address, _seen(shard.node), name="the primary")


def _unguarded(shards: tuple[Shard, ...]) -> Iterator[Finding]:
    for shard in shards:
        # One that does not serve waits for its replica, which has lost its link.
        if shard.problem is None and not shard.good_replicas:
            known = len(shard.holder.replicas)
            yield Finding(
                Status.WARNING,
                f"the primary {shard.holder.address} ({told_slots(shard.holder.slots)}) has no "
                "replica that keeps up" + (f", of {known}" if known else ""),
            )


def _down(survey: Survey, view: ClusterView, told: frozenset[Address]) -> Iterator[Finding]:
    """Nodes that are down and hold nothing that is served."""
    for at, node in survey.nodes.items():
        if at in told:
            continue
        if isinstance(node, Failure):
            yield Finding(Status.WARNING, f"node {at} {node.text}")
        elif at in view.strangers:
            yield Finding(
                Status.WARNING,
                f"node {at} does not belong to the cluster that the others make up",
            )
    for at, missing in view.missed.items():
        if isinstance(survey.nodes.get(at), NodeSurvey) and not (at in told and view.is_missed(at)):
            yield Finding(
                Status.WARNING,
                f"node {at} answers, and {missing} of {_primaries(len(view.holders))} "
                f"{'calls' if missing == 1 else 'call'} it down",
            )


def _disagreement(view: ClusterView) -> Iterator[Finding]:
    if view.dissenters:
        verb = "disagrees" if len(view.dissenters) == 1 else "disagree"
        yield Finding(
            Status.WARNING,
            f"{_names(view.dissenters)} {verb} with the others about who holds a slot",
        )


def _seen(node: NodeSurvey) -> NodeSeen:
    rows = [row for row in node.followers.values() if row["state"] == "online"]
    return NodeSeen(
        role=node.role,
        loading=bool(node.info.get("loading")),
        linked=frozenset(at for at, row in node.followers.items() if row in rows),
        good_replicas=node.number("min_slaves_good_slaves"),
        min_replicas=node.setting("min-replicas-to-write"),
        usage=Usage(
            lag=max((int(row["lag"]) for row in rows), default=None),
            clients=node.number("connected_clients"),
            memory=node.number("used_memory"),
            max_memory=node.number("maxmemory") or None,
        ),
    )


def _used(shards: tuple[Shard, ...]) -> dict[str, int | None]:
    """The clients of all primaries, the longest lag, and the memory of the fullest primary."""
    usages = [_seen(shard.node).usage for shard in shards if isinstance(shard.node, NodeSurvey)]
    if not usages:
        return {}
    fullest = max(usages, key=lambda each: (each.memory or 0) / (each.max_memory or float("inf")))
    return {
        "lag_seconds": max((u.lag for u in usages if u.lag is not None), default=None),
        "clients": sum(usage.clients or 0 for usage in usages),
        "memory_bytes": fullest.memory,
        "max_memory_bytes": fullest.max_memory,
    }


def _names(addresses: tuple[Address, ...] | list[Address]) -> str:
    noun = "node" if len(addresses) == 1 else "nodes"
    return f"{noun} {', '.join(map(str, addresses))}"


def _primaries(number: int) -> str:
    return f"{number} {'primary' if number == 1 else 'primaries'}"


def _slots(number: int) -> str:
    return f"{count_of(number, 'slot')} {'is' if number == 1 else 'are'}"
