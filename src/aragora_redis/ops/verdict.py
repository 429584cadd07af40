"""What the servers of a topology said, and how healthy that makes it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..address import Address
from .access import Failure, Fault
from .offered import unseen
from .report import MEMORY_FULL, MEMORY_NEARLY, Finding, HealthReport, Status, report


@dataclass(frozen=True, slots=True)
class SentinelSeen:
    """What one Sentinel says of the primary, its replicas and its fellow Sentinels."""

    primary: Address
    epoch: int
    flags: frozenset[str]
    """Flags of the primary."""
    quorum: int
    others: int
    """Fellow Sentinels that it has heard of."""
    others_alive: int
    """Those of them that it does not call down."""
    replicas: Mapping[Address, bool]
    """Replicas that it has heard of, and whether it calls them healthy and linked."""
    tilted: bool = False
    """It distrusts its own judgement (TILT), and takes no part in a failover."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a data node is used; None for what it does not tell."""

    lag: int | None = None
    """Seconds since the replica that is furthest behind has acknowledged anything."""
    clients: int | None = None
    memory: int | None = None
    """Bytes."""
    max_memory: int | None = None
    """Bytes; None for no limit."""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """What a data node says of itself."""

    role: str | None
    """`master` or `slave`; None where a managed service does not let it be known."""
    loading: bool
    linked: frozenset[Address]
    """Replicas that are connected to it and online, whatever their lag."""
    good_replicas: int | None
    """Replicas within `min-replicas-max-lag`; None where no `min-replicas-to-write` is set."""
    min_replicas: int | None
    """`min-replicas-to-write`; None where it may not be asked."""
    usage: Usage = Usage()
    refusal: str | None = None
    """Why it refuses writes, where only a trial can tell."""
    forbidden: frozenset[str] = frozenset()
    """The commands that a managed service keeps from us."""

    @property
    def has_good_replicas(self) -> bool:
        """Whether it has as many as it wants for a write."""
        return self.good_replicas is None or self.good_replicas >= (self.min_replicas or 1)


SentinelAnswers = Mapping[Address, SentinelSeen | Failure]


def named_primary(answers: SentinelAnswers) -> Address | None:
    """The primary by most Sentinels; of equally many, by the highest epoch."""
    seen = [answer for answer in answers.values() if isinstance(answer, SentinelSeen)]
    votes = Counter(answer.primary for answer in seen)
    best = max(seen, key=lambda answer: (votes[answer.primary], answer.epoch), default=None)
    return best.primary if best else None


def judge_node(address: Address, node: NodeSeen | Failure) -> HealthReport:
    """The health of one Redis without Sentinels."""
    return report(
        list(node_findings(address, node, name="Redis")),
        healthy="Redis healthy (standalone or managed)",
        facts={"primary": str(address), **_used(node)},
        notes=unseen(node.forbidden, ("INFO",)) if isinstance(node, NodeSeen) else (),
    )


def judge_sentinel(
    master_name: str, answers: SentinelAnswers, node: NodeSeen | Failure | None
) -> HealthReport:
    """The health of a primary with replicas and Sentinels.

    Args:
        master_name: what the Sentinels were asked about.
        answers: of each configured Sentinel.
        node: what the server at `named_primary` says; None where no Sentinel named one.
    """
    seen = {at: answer for at, answer in answers.items() if isinstance(answer, SentinelSeen)}
    primary = named_primary(answers)
    if primary is None or node is None:
        return report(
            [_nobody_knows(master_name, answers), *_failures(answers)],
            healthy="",
            facts={"sentinels": len(answers), "sentinels_answering": 0},
        )
    total, votes = count_sentinels(answers)
    known, good = _replicas(seen, primary, node)
    findings = [
        *node_findings(primary, node, name="the primary"),
        *_flag_findings(seen, primary),
        *_vote_findings(seen, primary, total, votes),
        *(_replica_findings(known, good, node) if isinstance(node, NodeSeen) else ()),
        *_failures(answers),
    ]
    return report(
        findings,
        healthy=f"Redis HA healthy (master + {count_of(good, 'replica')})",
        facts={
            "primary": str(primary),
            "replicas": known,
            "replicas_good": good,
            "sentinels": total,
            "sentinels_answering": len(seen),
            **_used(node),
        },
    )


def _used(node: NodeSeen | Failure) -> dict[str, int | None]:
    if isinstance(node, Failure):
        return {}
    usage = node.usage
    return {
        "lag_seconds": usage.lag,
        "clients": usage.clients,
        "memory_bytes": usage.memory,
        "max_memory_bytes": usage.max_memory,
    }


def count_sentinels(answers: SentinelAnswers) -> tuple[int, int]:
    """How many Sentinels there are, and how many of them live.

    The configured ones are judged by their own answer; one in TILT mode is as good as dead. Where
    fewer are configured than there are, a fellow that an answering one does not call down counts as
    alive for each that is missing.
    """
    seen = [answer for answer in answers.values() if isinstance(answer, SentinelSeen)]
    total = max(len(answers), *(answer.others + 1 for answer in seen), 0)
    vouched = max((answer.others_alive + 1 - len(seen) for answer in seen), default=0)
    tilted = sum(answer.tilted for answer in seen)
    return total, len(seen) - tilted + max(0, min(vouched, total - len(answers)))


def _nobody_knows(master_name: str, answers: SentinelAnswers) -> Finding:
    failures = [answer for answer in answers.values() if isinstance(answer, Failure)]
    faults = {failure.fault for failure in failures}
    if Fault.UNKNOWN_MASTER in faults:
        text = (
            f"no Sentinel knows a master named {master_name!r}; "
            "check ARAGORA_REDIS_SENTINEL_MASTER against `sentinel monitor`"
        )
    elif Fault.DENIED in faults:
        text = next(f"each Sentinel {f.text}" for f in failures if f.fault is Fault.DENIED)
    else:
        text = f"no Sentinel answers ({count_of(len(answers), 'configured Sentinel')})"
    return Finding(Status.CRITICAL, text)


def _failures(answers: SentinelAnswers) -> Iterator[Finding]:
    for address, answer in answers.items():
        if isinstance(answer, Failure):
            yield Finding(Status.WARNING, f"Sentinel {address} {answer.text}")


def node_findings(address: Address, node: NodeSeen | Failure, *, name: str) -> Iterator[Finding]:
    """What keeps a server from taking writes, or soon will."""
    if isinstance(node, Failure):
        yield Finding(Status.CRITICAL, f"{name} {address} {node.text}")
        return
    if node.loading:
        yield Finding(Status.CRITICAL, f"{name} {address} is still loading its data")
    memory, limit = node.usage.memory or 0, node.usage.max_memory or 0
    if limit and memory > MEMORY_NEARLY * limit:
        full = memory > MEMORY_FULL * limit
        yield Finding(
            Status.CRITICAL if full else Status.WARNING,
            f"{name} {address} uses {memory / limit:.0%} of its maxmemory"
            + (": it refuses writes (OOM)" if full else ""),
        )
    if node.role == "slave":
        yield Finding(Status.CRITICAL, f"{name} {address} is a replica and refuses writes")
    elif node.refusal is not None:
        yield Finding(Status.CRITICAL, f"{name} {address} refuses writes: {node.refusal}")
    elif not node.has_good_replicas:
        good = count_of(node.good_replicas or 0, "good replica")
        yield Finding(
            Status.CRITICAL,
            f"{name} {address} refuses writes: {good}, and "
            f"min-replicas-to-write is {node.min_replicas or 'set'}",
        )


def _flag_findings(seen: Mapping[Address, SentinelSeen], primary: Address) -> Iterator[Finding]:
    for flag, meaning in (
        ("failover_in_progress", "a failover is in progress"),
        ("o_down", f"the Sentinels agree that the primary {primary} is down"),
    ):
        if any(flag in answer.flags for answer in seen.values()):
            yield Finding(Status.CRITICAL, meaning)
    blind = [at for at, answer in seen.items() if answer.flags & {"s_down", "disconnected"}]
    if blind:
        yield Finding(
            Status.CRITICAL if len(blind) * 2 > len(seen) else Status.WARNING,
            f"{_names(blind)} cannot reach the primary {primary}",
        )


def _vote_findings(
    seen: Mapping[Address, SentinelSeen], primary: Address, total: int, votes: int
) -> Iterator[Finding]:
    quorum = max(answer.quorum for answer in seen.values())
    majority = total // 2 + 1
    if votes < max(quorum, majority):
        yield Finding(
            Status.CRITICAL,
            f"{votes} of {count_of(total, 'Sentinel')} live: no automatic failover is possible "
            f"(quorum {quorum}, majority {majority})",
        )
    elif votes < total:
        yield Finding(Status.WARNING, f"{votes} of {count_of(total, 'Sentinel')} live")
    tilted = [at for at, answer in seen.items() if answer.tilted]
    if tilted:
        yield Finding(Status.WARNING, f"{_names(tilted)}: TILT mode, no part in a failover")
    elsewhere = [at for at, answer in seen.items() if answer.primary != primary]
    if elsewhere:
        split = (len(seen) - len(elsewhere)) * 2 <= len(seen)
        yield Finding(
            Status.CRITICAL if split else Status.WARNING,
            f"the Sentinels disagree: {_names(elsewhere)} "
            f"{'follows' if len(elsewhere) == 1 else 'follow'} another primary than {primary}",
        )


def _replicas(
    seen: Mapping[Address, SentinelSeen], primary: Address, node: NodeSeen | Failure
) -> tuple[int, int]:
    """How many replicas are known, and how many most Sentinels and the primary call good.

    Sentinels ask a server for its links only every ten seconds, the primary knows at once.
    """
    views = [answer.replicas for answer in seen.values() if answer.primary == primary]
    known = {address for view in views for address in view}
    good = {
        address
        for address in known
        if sum(view.get(address, False) for view in views) * 2 > len(views)
    }
    if isinstance(node, Failure):
        return len(known), len(good)
    counts = (len(good), len(node.linked), node.good_replicas)
    return len(known), min(count for count in counts if count is not None)


def _replica_findings(known: int, good: int, node: NodeSeen) -> Iterator[Finding]:
    if good == 0:
        needs_one = node.good_replicas is not None
        yield Finding(
            Status.CRITICAL if needs_one else Status.WARNING,
            "no good replica"
            + (f" of {known}" if known else "")
            + ": no automatic failover is possible"
            + (", and the primary soon refuses writes" if needs_one else ""),
        )
    elif good < known:
        yield Finding(Status.WARNING, f"{good} of {count_of(known, 'replica')} good")


def _names(addresses: list[Address]) -> str:
    noun = "Sentinel" if len(addresses) == 1 else "Sentinels"
    return f"{noun} {', '.join(str(address) for address in addresses)}"


def count_of(number: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
