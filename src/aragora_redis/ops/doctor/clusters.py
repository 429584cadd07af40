"""Whether the nodes of a Redis Cluster serve all slots, agree, and can take over. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from ...address import Address
from ..access import Failure, Fault
from ..cluster_verdict import Shard, keeps_up, shards_of
from ..cluster_view import ClusterView, Holder, count_slots, told_slots
from ..report import Status
from ..survey import Survey
from ..verdict import count_of
from .diagnosis import Diagnosis
from .roles import cli

FEW_MS, MANY_MS = 500, 15_000
"""Bounds of a sensible cluster-node-timeout, in milliseconds."""
TIMEOUT = "cluster-node-timeout"
_MOST = 4
"""Slots in motion that are named one by one."""


def uncovered(survey: Survey) -> Iterator[Diagnosis]:
    """Slots that nobody serves."""
    view = survey.cluster
    if view is None or not view.words:
        return
    if view.gaps:
        count = count_slots(view.gaps)
        yield Diagnosis(
            name="slots-uncovered",
            status=Status.CRITICAL,
            subject=count_of(count, "slot"),
            evidence=f"({told_slots(view.gaps)}) {'is' if count == 1 else 'are'} held by nobody",
            consequence="what lies in them cannot be read or written (CLUSTERDOWN)",
            fix=f"redis-cli --cluster fix {_any(view)}",
        )
    for shard in shards_of(survey, view):
        at, slots = shard.holder.address, shard.holder.slots
        # One that lets us not in is told as that, and one that refuses commands as cluster-down.
        denied = isinstance(shard.node, Failure) and shard.node.fault is Fault.DENIED
        if at not in view.words and not denied:
            yield Diagnosis(
                name="slots-uncovered",
                status=Status.CRITICAL,
                subject=f"the primary {at} of {count_of(count_slots(slots), 'slot')}",
                evidence=f"({told_slots(slots)}) {shard.problem}",
                consequence="what lies in them cannot be read or written "
                + ("until a replica takes over" if _heirs(survey, shard) else "until it is back"),
                fix=_replacement(survey, view, shard),
            )


def down(survey: Survey) -> Iterator[Diagnosis]:
    """A cluster that refuses commands, or could not replace a primary."""
    view = survey.cluster
    if view is None:
        return
    denied = {
        at for at, n in survey.nodes.items() if isinstance(n, Failure) and n.fault is Fault.DENIED
    }
    if denied and not view.words:
        return  # that is told, and more is not known
    voting, total = len(view.voters), len(view.holders)
    # One that lets us not in may still vote.
    able = voting + sum(holder.address in denied for holder in view.holders)
    if not view.words or able < view.majority:
        yield Diagnosis(
            name="cluster-down",
            status=Status.CRITICAL,
            subject="the cluster:",
            evidence=f"{voting} of {total} primaries can be heard, and {view.majority} are needed"
            if view.words
            else "no node of it can be heard",
            consequence="no failover is possible, and what is left of it refuses commands "
            "(CLUSTERDOWN)"
            if view.words
            else "nothing can be read or written",
            fix="bring the primaries back; of those that are dead for certain, and not only cut "
            "off, on a replica of each: CLUSTER FAILOVER TAKEOVER"
            if view.words
            else "start them, or check ARAGORA_REDIS_CLUSTER_NODES and what the nodes said: "
            "aragora-redis doctor --connect",
        )
    if view.failed:
        refusing = [at for at in survey.primaries if at in view.failed]
        yield Diagnosis(
            name="cluster-down",
            status=Status.CRITICAL if refusing else Status.WARNING,
            subject="nodes" if len(view.failed) > 1 else "node",
            evidence=f"{_names(view.failed)} {'say' if len(view.failed) > 1 else 'says'} that the "
            "cluster does not work (cluster_state fail)",
            consequence="they refuse commands (CLUSTERDOWN)"
            if refusing
            else "replicas that see it so refuse reads, and may be cut off from the primaries",
            fix="have all slots served, and let the nodes reach each other on their bus ports "
            f"(port + 10000): {cli(view.failed[0])} CLUSTER INFO",
        )


def apart(survey: Survey) -> Iterator[Diagnosis]:
    """Servers that were given as nodes of the cluster, and are none."""
    view = survey.cluster
    if view is None:
        return
    for at, node in survey.nodes.items():
        alone = isinstance(node, Failure) and node.fault is Fault.NO_CLUSTER
        if alone or at in view.strangers:
            yield Diagnosis(
                name="not-in-cluster",
                status=Status.WARNING,
                subject=str(at),
                evidence=node.text
                if isinstance(node, Failure)
                else "does not belong to the cluster that the others make up",
                consequence="it serves nothing of ours, and cannot take over"
                if view.words
                else "there is no cluster to be used",
                fix="take it out of ARAGORA_REDIS_CLUSTER_NODES, or add it: "
                f"redis-cli --cluster add-node {at} {_any(view)}",
            )


def unguarded(survey: Survey) -> Iterator[Diagnosis]:
    """Primaries that nobody could replace."""
    view = survey.cluster
    if view is None:
        return
    for shard in shards_of(survey, view):
        holder = shard.holder
        near = [each for each in holder.replicas if keeps_up(survey, view, holder, each)]
        # What keeps those from it that may not take over is told of each of them.
        if isinstance(shard.node, Failure) or near:
            continue
        yield Diagnosis(
            name="primary-without-replica",
            status=Status.WARNING,
            subject=f"the primary {holder.address}",
            evidence=f"({told_slots(holder.slots)}) has {count_of(len(holder.replicas), 'replica')}"
            + (", and none is up and in step" if holder.replicas else ""),
            consequence="if it dies its slots are gone until it is back, and what only it knew",
            fix=f"bring {_names(holder.replicas)} back; see its log and its link"
            if holder.replicas
            else _addition(survey, view, holder),
        )


def _addition(survey: Survey, view: ClusterView, holder: Holder) -> str:
    """How a primary gets a replica that has none: one that it lost may be what is down."""
    placed = {at for each in view.holders for at in (each.address, *each.replicas)}
    lost = [
        at
        for at, node in survey.nodes.items()
        if at not in placed and isinstance(node, Failure) and node.fault is not Fault.NO_CLUSTER
    ]
    new = (
        f"redis-cli --cluster add-node NEW_HOST:PORT {holder.address} --cluster-slave "
        f"--cluster-master-id {holder.node_id}"
    )
    return f"start {_names(lost)} again; if its host is gone: {new}" if lost else new


def barred(survey: Survey) -> Iterator[Diagnosis]:
    """Replicas that are configured never to take over by themselves."""
    view = survey.cluster
    if view is None:
        return
    for holder in view.holders:
        free = [at for at in holder.replicas if not _barred(survey, at)]
        able = [at for at in free if keeps_up(survey, view, holder, at)]
        for at in holder.replicas:
            if at in free:
                continue
            yield Diagnosis(
                name="replica-no-failover",
                status=Status.WARNING,
                subject=str(at),
                evidence="never takes over by itself (cluster-replica-no-failover yes)",
                consequence=f"the place of {holder.address} is left to {_names(able)}"
                if able
                else f"without {holder.address} its slots ({told_slots(holder.slots)}) are gone "
                "until that is back",
                fix=f"{cli(at)} CONFIG SET cluster-replica-no-failover no, and the same in its "
                "redis.conf",
            )


def failing(survey: Survey) -> Iterator[Diagnosis]:
    """Nodes that answer us, and that primaries cannot reach."""
    view = survey.cluster
    if view is None:
        return
    for at, missing in view.missed.items():
        if at in survey.alive:
            holds = at in survey.primaries
            yield Diagnosis(
                name="node-failing",
                status=Status.CRITICAL if holds and view.is_missed(at) else Status.WARNING,
                subject=str(at),
                evidence=f"answers us, and {missing} of {len(view.holders)} primaries "
                f"{'calls' if missing == 1 else 'call'} it down (fail, fail?)",
                consequence="with most of them it is replaced, though it may live"
                if holds
                else "with most of them it cannot take over",
                fix="let the nodes reach its bus port (port + 10000), or see whether it is paused "
                f"or swaps: {cli(at)} CLUSTER NODES",
            )


def disagreement(survey: Survey) -> Iterator[Diagnosis]:
    """Nodes that hold other primaries for the holders of slots, or other epochs."""
    view = survey.cluster
    if view is None:
        return
    if view.dissenters:
        yield Diagnosis(
            name="nodes-disagree",
            status=Status.WARNING,
            subject="nodes" if len(view.dissenters) > 1 else "node",
            evidence=f"{_names(view.dissenters)} "
            f"{'name' if len(view.dissenters) > 1 else 'names'} other holders for some slots than "
            "the newest epochs do",
            consequence="clients that ask there are sent to and fro, or write to an old primary "
            "what will be lost",
            fix="if it stays so for a minute, let them reach the others; then: "
            f"redis-cli --cluster check {_any(view)}",
        )
    epochs = {at: word.epoch for at, word in view.words.items() if word.epoch is not None}
    behind = [at for at, epoch in epochs.items() if epoch < max(epochs.values())]
    if behind and not view.dissenters:
        yield Diagnosis(
            name="nodes-disagree",
            status=Status.WARNING,
            subject="nodes" if len(behind) > 1 else "node",
            evidence=f"{_names(behind)} {'are' if len(behind) > 1 else 'is'} behind epoch "
            f"{max(epochs.values())} of the others",
            consequence="they have not heard of the last change, and could not tell old from new",
            fix="if it stays so for a minute, let them reach the others on their bus ports",
        )
    same = [epoch for epoch, count in Counter(_epochs(view).values()).items() if count > 1]
    if same:
        equal = [at for at, epoch in _epochs(view).items() if epoch in same]
        yield Diagnosis(
            name="nodes-disagree",
            status=Status.WARNING,
            subject="primaries",
            evidence=f"{_names(equal)} have one configuration epoch, {same[0]}",
            consequence="if both claim a slot nobody can tell whose claim is newer",
            fix="let them reach each other: they settle it within seconds; else on one of them: "
            f"{cli(equal[0])} CLUSTER BUMPEPOCH",
        )


def stuck(survey: Survey) -> Iterator[Diagnosis]:
    """Slots whose move was begun and not ended."""
    view = survey.cluster
    if view is None:
        return
    found: dict[tuple[Address, bool], list[int]] = {}
    for at, motion in view.motions():
        found.setdefault((at, motion.importing), []).append(motion.slot)
    for (at, importing), slots in found.items():
        told = ", ".join(map(str, sorted(slots)[:_MOST])) + (" ..." if len(slots) > _MOST else "")
        yield Diagnosis(
            name="slot-stuck",
            status=Status.WARNING,
            subject=str(at),
            evidence=f"has {count_of(len(slots), 'slot')} open, {told} "
            f"({'importing' if importing else 'migrating'})",
            consequence="each request for a key that is not there goes to two nodes (ASK), and one "
            "for several keys may be refused (TRYAGAIN)",
            fix=f"unless slots are being moved right now: redis-cli --cluster fix {at}; where both "
            f"sides are empty: {cli(at)} CLUSTER SETSLOT {min(slots)} STABLE",
        )


def settings(survey: Survey) -> Iterator[Diagnosis]:
    """What a node is configured to do when others are gone."""
    if survey.cluster is None:
        return
    for at, node in survey.alive.items():
        if node.config.get("cluster-require-full-coverage") == "yes":
            yield Diagnosis(
                name="full-coverage",
                status=Status.WARNING,
                subject=str(at),
                evidence="refuses everything while one slot is uncovered "
                "(cluster-require-full-coverage yes)",
                consequence="one lost shard stops those that are healthy too",
                fix=f"{cli(at)} CONFIG SET cluster-require-full-coverage no, and the same in its "
                "redis.conf",
            )
    timeouts = {
        at: milliseconds
        for at, node in survey.alive.items()
        if (milliseconds := node.setting(TIMEOUT)) is not None
    }
    for at, milliseconds in timeouts.items():
        if not FEW_MS <= milliseconds <= MANY_MS:
            yield Diagnosis(
                name="node-timeout",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"calls a node down after {milliseconds} ms ({TIMEOUT})",
                consequence="a pause of a node is taken for its death"
                if milliseconds < FEW_MS
                else f"slots are out of service for {milliseconds / 1000:.0f} s after a death",
                fix=f"{cli(at)} CONFIG SET {TIMEOUT} 5000, and the same in its redis.conf",
            )
    if len(set(timeouts.values())) > 1:
        yield Diagnosis(
            name="node-timeout",
            status=Status.WARNING,
            subject="the nodes:",
            evidence=f"{TIMEOUT} is " + _values(timeouts),
            consequence="they call each other down at different times: a failover comes late, or "
            "is not voted for",
            fix=f"on each: CONFIG SET {TIMEOUT} 5000, and the same in its redis.conf",
        )


CHECKS = (down, uncovered, apart, unguarded, barred, failing, disagreement, stuck, settings)


def _heirs(survey: Survey, shard: Shard) -> list[Address]:
    """The replicas that live and may take over."""
    alive = (at for at in shard.holder.replicas if at in survey.alive)
    return [at for at in alive if not _barred(survey, at)]


def _replacement(survey: Survey, view: ClusterView, shard: Shard) -> str:
    heirs = _heirs(survey, shard)
    if not heirs:
        return f"start {shard.holder.address}, or one of its replicas that has its data"
    if len(view.voters) < view.majority:
        return (
            "bring back the other primaries, which have to vote; if they are dead for certain: "
            f"{cli(heirs[0])} CLUSTER FAILOVER TAKEOVER"
        )
    return (
        f"wait for twice the {TIMEOUT}; if nobody takes over: "
        f"{cli(heirs[0])} CLUSTER FAILOVER FORCE"
    )


def _barred(survey: Survey, at: Address) -> bool:
    node = survey.alive.get(at)
    return node is not None and node.config.get("cluster-replica-no-failover") == "yes"


def _epochs(view: ClusterView) -> dict[Address, int]:
    """Under which each primary holds its slots."""
    return {holder.address: holder.epoch for holder in view.holders}


def _any(view: ClusterView) -> str:
    return str(next(iter(view.words), "HOST:PORT"))


def _names(addresses: tuple[Address, ...] | list[Address]) -> str:
    return ", ".join(map(str, addresses))


def _values(found: Mapping[Address, int]) -> str:
    return ", ".join(f"{value} at {at}" for at, value in found.items())
