"""Whether a migration can be made, in which way, and what it will not bring along. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ..report import MEMORY_FULL, Finding, Status
from .inventory import Inventory

_FORMATS: Final = {
    "redis": (((8, 0), 12), ((7, 4), 12), ((7, 2), 11), ((7, 0), 10), ((0, 0), 9)),
    "valkey": (((9, 0), 80), ((0, 0), 11)),
}
"""RDB formats by the first version that writes them. Source: `rdb.h` of the servers' releases."""

CLOCKS_APART: Final = 1.0
"""Seconds from which it is worth a word: times to live are kept as instants."""


class Way(StrEnum):
    """How data gets to the target."""

    REPLICATION = "replication"
    """The target's primary replicates the source, and so has all of it, as it was written."""
    COPY = "copy"
    """Each key is read and written, and again when it changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationPlan:
    """What would be done, and what stands against it.

    Attributes:
        way: how data would get there; None where it cannot.
        findings: what stands against it (CRITICAL) or is to be known before (WARNING).
        stays: what is not moved, each as a clause.
        source: what was found there.
        target: what was found there, for each primary.
    """

    way: Way | None
    findings: tuple[Finding, ...]
    stays: tuple[str, ...]
    source: Inventory
    target: tuple[Inventory, ...]

    @property
    def status(self) -> Status:
        """The worst of the findings."""
        return max((finding.status for finding in self.findings), default=Status.OK)

    @property
    def blocked(self) -> str | None:
        """Why it cannot be begun, or None."""
        return next((f.text for f in self.findings if f.status is Status.CRITICAL), None)

    @property
    def headline(self) -> str:
        """One line."""
        if self.blocked is not None:
            return f"CRITICAL: {self.blocked}"
        to_know = f", {len(self.findings)} to know before" if self.findings else ""
        return f"{self.status.name}: {self.source.total} keys can be moved by {self.way}{to_know}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status.name,
            "headline": self.headline,
            "way": self.way,
            "findings": [{"status": f.status.name, "text": f.text} for f in self.findings],
            "stays": list(self.stays),
            "source": _told(self.source),
            "target": [_told(each) for each in self.target],
        }


def make_plan(
    source: Inventory,
    target: Sequence[Inventory],
    *,
    wanted: Way | None = None,
    overwrite: bool = False,
    attached: bool = False,
) -> MigrationPlan:
    """Judge what was found.

    Args:
        source: the single Redis.
        target: each primary of the target, at least one.
        wanted: the way that is asked for; None takes replication where that is possible.
        overwrite: what the target holds may be replaced.
        attached: the target follows the source already, from a run before.
    """
    against = None if attached else _against_replication(source, target)
    way = wanted or (Way.COPY if against else Way.REPLICATION)
    findings = [Finding(Status.CRITICAL, text) for text in _blockers(source, target, way)]
    if way is Way.REPLICATION and against:
        findings.append(Finding(Status.CRITICAL, f"replication is not possible: {against}"))
    if not attached and not overwrite and (held := sum(each.total for each in target)):
        text = f"the target holds {held} keys, which would be replaced: --overwrite allows that"
        findings.append(Finding(Status.CRITICAL, text))
    findings += [Finding(Status.WARNING, text) for text in _warnings(source, target, way)]
    blocked = any(finding.status is Status.CRITICAL for finding in findings)
    return MigrationPlan(
        way=None if blocked else way,
        findings=tuple(findings),
        stays=tuple(_stays(source, way)),
        source=source,
        target=tuple(target),
    )


def one_server(source: Inventory, target: Sequence[Inventory]) -> str | None:
    """What to say where the source is the target too; None where it is not.

    One server has many addresses, so it is also told by its run; zeros tell of none.
    """
    for each in target:
        if each.address == source.address:
            return f"{source.address} is both the source and the target"
        if source.run_id.strip("0") and each.run_id == source.run_id:
            return f"{source.address} is both the source and the target, as {each.address}"
    return None


def reads(reader: Inventory, writer: Inventory) -> bool:
    """Whether one server can load what another one dumps."""
    ours, theirs = rdb_format(reader), rdb_format(writer)
    if theirs <= 11:
        return ours >= theirs
    # From 12 on Redis and Valkey have formats of their own.
    return reader.flavour == writer.flavour and ours >= theirs


def rdb_format(server: Inventory) -> int:
    """The format in which a server dumps its data."""
    return next(number for since, number in _FORMATS[server.flavour] if server.version[:2] >= since)


def _against_replication(source: Inventory, target: Sequence[Inventory]) -> str | None:
    if any(each.clustered for each in target):
        return "nodes of a Redis Cluster replicate each other only"
    if not all(each.follows for each in target):
        return "the target does not take REPLICAOF"
    if source.sentinels:
        return f"{source.sentinels} Sentinels watch the source, and would have the target follow it"
    if not source.feeds:
        return "the source lets nobody replicate it (REPLCONF)"
    return next(filter(None, (_blind(each, source) for each in target)), None)


def _blockers(source: Inventory, target: Sequence[Inventory], way: Way) -> Iterator[str]:
    if (why := one_server(source, target)) is not None:
        yield why
        return
    if source.clustered:
        yield "the source is a Redis Cluster: what is moved is a single Redis"
    if not source.primary:
        yield f"the source {source.address} is a replica: name its primary"
    for each in target:
        if not reads(each, source):
            yield (
                f"{each.name} at {each.address} cannot load what {source.name} dumps; take a "
                "target that is not older than the source"
            )
        if missing := set(source.modules) - set(each.modules):
            yield f"{each.address} has no module {', '.join(sorted(missing))}"
    if any(each.clustered for each in target) and (others := [db for db in source.keys if db]):
        yield (
            f"a Redis Cluster has database 0 only, and the source has keys in "
            f"{', '.join(map(str, others))}"
        )
    room = [each.max_memory for each in target]
    if all(room) and source.memory > sum(room) * MEMORY_FULL:
        yield f"{_size(source.memory)} do not fit into the {_size(sum(room))} of the target"
    if way is Way.COPY and not source.pauses:
        yield (
            "the source cannot hold writes (CLIENT PAUSE WRITE, 6.2): stop the writers, and take a "
            "copy"
        )


def _blind(follower: Inventory, leader: Inventory) -> str | None:
    """What keeps a server from following another one over TLS, as far as it tells."""
    if leader.encrypted and follower.trusts == "":
        return (
            f"{follower.address} cannot check the certificate of {leader.address}: give it "
            "tls-ca-cert-file, and a certificate of its own (tls-cert-file, tls-key-file)"
        )
    return None


def _encryption(source: Inventory, target: Sequence[Inventory]) -> Iterator[str]:
    for each in target:
        if source.encrypted and each.trusts:
            yield (
                f"{each.address} follows the source over TLS: {each.trusts} on its machine must "
                "hold the authority of the source's certificate, which is tried before anything "
                "is copied"
            )
        if (why := _blind(source, each)) is not None:
            yield f"after the move there is no way back: {why}"


def _warnings(source: Inventory, target: Sequence[Inventory], way: Way) -> Iterator[str]:
    if way is Way.REPLICATION and not all(reads(source, each) for each in target):
        yield (
            f"{source.name} may not be able to follow {target[0].name}: after the move there "
            "may be no way back"
        )
    if way is Way.REPLICATION:
        yield from _encryption(source, target)
    for each in target:
        if abs(apart := each.ahead - source.ahead) > CLOCKS_APART:
            yield (
                f"the clock of {each.address} is {abs(apart):.0f} s "
                f"{'ahead of' if apart > 0 else 'behind'} the source's: keys expire that much "
                f"{'earlier' if apart > 0 else 'later'} after the move"
            )
        if each.policy != source.policy and each.policy and source.policy:
            yield f"{each.address} evicts by {each.policy}, the source by {source.policy}"
    if source.policy and source.policy != "noeviction":
        yield f"the source evicts keys by {source.policy}: what it evicts meanwhile is not moved"
    for key, size in sorted(source.large.items(), key=lambda each: -each[1])[:5]:
        yield f"a value of {_size(size)} holds up the source while it is read: {key[:80]}"
    if source.sentinels:
        yield (
            f"{source.sentinels} Sentinels watch the source: a failover of theirs meanwhile ends "
            "the move, and one after it brings writers back to a server that was left"
        )
    if source.replicas:
        yield f"{source.replicas} replicas of the source stay with it, and follow the target by it"


def _stays(source: Inventory, way: Way) -> Iterator[str]:
    if source.users:
        yield f"users of the ACL: {', '.join(source.users)}"
    yield "settings made by CONFIG, cached scripts, connections with their subscriptions and WATCH"
    if way is Way.COPY:
        yield "how long keys have not been used (LRU, LFU)"


def _told(server: Inventory) -> dict[str, Any]:
    return {
        "address": str(server.address),
        "server": server.name,
        "keys": {str(db): keys for db, keys in server.keys.items()},
        "expiring": server.expiring,
        "memory": server.memory,
        "max_memory": server.max_memory,
        "policy": server.policy,
        "types_sampled": dict(server.types),
        "modules": list(server.modules),
        "functions": list(server.functions),
        "users": list(server.users),
    }


def _size(count: float) -> str:
    return f"{count / 1024**2:.1f} MiB"
