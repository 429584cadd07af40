"""What the servers of a deployment say of themselves and of each other, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from ..address import Address
from .access import Failure
from .cluster_view import ClusterView, ClusterWord
from .outbox_sight import OutboxSight

Row = Mapping[str, Any]

A_MONTH = 30 * 86_400_000
"""Milliseconds for which Sentinels wait for their primary while a migration has them elect nobody
(down-after-milliseconds)."""

SET, UNEXPANDED, EMPTY = "set", "unexpanded", ""
"""What is kept of a secret: that there is one, that it is the name of a variable, or none."""
SECRETS = ("requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelSurvey:
    """One Sentinel's answers."""

    id: str
    named: Address
    """Whom clients are told is primary (`SENTINEL GET-MASTER-ADDR-BY-NAME`)."""
    master: Row
    replicas: tuple[Row, ...]
    fellows: tuple[Row, ...]
    info: Row
    unsaved: str | None = None
    """Why it cannot write its configuration; None where it can, or was not asked to."""

    def demand_sense(self) -> None:
        """Read all that is read of it later; fails anyhow where that cannot be."""
        _ = self.epoch, self.quorum, self.flags
        _ = int(self.master["down-after-milliseconds"])
        for name in ("failover-timeout", "o-down-time"):
            _ = int(self.master.get(name) or 0)
        for row in (*self.replicas, *self.fellows):
            _ = address_of(row)
            if "s_down" in flags_of(row):
                _ = int(row["last-ok-ping-reply"])

    @property
    def epoch(self) -> int:
        """Its configuration epoch for the primary."""
        return int(self.master["config-epoch"])

    @property
    def quorum(self) -> int:
        """How many Sentinels must miss the primary."""
        return int(self.master["quorum"])

    @property
    def flags(self) -> frozenset[str]:
        """What it says of the primary's state."""
        return flags_of(self.master)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSurvey:
    """One data node's answers."""

    role: str | None
    """`master` or `slave`; None where a managed service does not let it be known."""
    source: Address | None
    """Whom a replica replicates."""
    info: Row
    config: Mapping[str, str]
    """`CONFIG GET *`, secrets replaced by what is kept of them; empty where it may not be asked."""
    masterauth_differs: bool = False
    """Replicating from this deployment it would use another password than ours."""
    skew: float = 0.0
    """Seconds by which its clock is ahead of ours."""
    uncertainty: float = 0.0
    """Half of how long it took to ask."""
    user: str | None = None
    """Whom it takes us for; None where it does not tell."""
    open: bool | None = None
    """Whether it lets in who gives no password; None where it was not asked, or does not tell."""
    missing: tuple[str, ...] = ()
    """What this library needs and that user may not."""
    excessive: tuple[str, ...] = ()
    """What that user may and this library never needs."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """Our own instances: boot id to row of presence."""
    beating: frozenset[str] = frozenset()
    """Boot ids of those that have said within their time that they live."""
    certificate_ends: float | None = None
    """Unix seconds at which its certificate expires."""
    word: ClusterWord | None = None
    """What it says of its cluster; None where there is none."""
    refusal: str | None = None
    """Why it refuses writes, where only a trial can tell."""
    forbidden: frozenset[str] = frozenset()
    """The commands that a managed service keeps from us: what they tell is empty."""

    def demand_sense(self) -> None:
        """Read all that is read of it later; fails anyhow where that cannot be."""
        for row in self.followers.values():
            _ = row["state"], int(row["offset"]), int(row["lag"])
        if not all(isinstance(text, str) for text in self.config.values()):
            raise TypeError("a setting that is no text")

    def number(self, name: str) -> int | None:
        """An integer out of INFO; None where it is not told."""
        value = self.info.get(name)
        return int(value) if isinstance(value, int | float) and isfinite(value) else None

    def setting(self, name: str) -> int | None:
        """An integer out of its configuration; None where it is not told."""
        text = self.config.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else None

    @property
    def followers(self) -> dict[Address, Row]:
        """Its replicas, with `state`, `offset` and `lag`."""
        rows = (
            row
            for key, row in self.info.items()
            if key.startswith("slave") and isinstance(row, dict)
        )
        return {address_of(row): row for row in rows}


@dataclass(frozen=True, slots=True)
class Instance:
    """What one of our own instances said with its last beat."""

    name: str
    policies: str
    """Hash of its policies."""
    staleness: float | None = None
    """Seconds by which its copy of the revocations may be behind; infinite before it has one, None
    where it follows those of another Redis."""
    by_redis: int = 0
    """Rate limits that Redis decided in the two seconds before, or that it repeated."""
    alone: int = 0
    """Those that it decided by itself."""
    fingerprint: str = ""
    """Of its digest key; empty where it did not say."""
    outbox: str = ""
    """`none`, `ok`, or a `DiskTrouble`: how its outbox on disk is; empty where it did not say."""
    tokens: int = 0
    """Revocations that it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Whom was asked, and what was answered."""

    master_name: str | None
    """None without Sentinels."""
    sentinels: Mapping[Address, SentinelSurvey | Failure]
    nodes: Mapping[Address, NodeSurvey | Failure]
    now: float
    """Unix seconds, by our clock."""
    cluster: ClusterView | None = None
    """What the nodes of a Redis Cluster together say; None for other deployments."""
    outbox: OutboxSight | None = None
    """The outbox on disk of this machine; None where none is named."""
    keeps: bool = True
    """Whether revocations or sessions are there, which must not be forgotten."""

    @property
    def heard(self) -> dict[Address, SentinelSurvey]:
        """The Sentinels that answered."""
        return {at: s for at, s in self.sentinels.items() if isinstance(s, SentinelSurvey)}

    @property
    def alive(self) -> dict[Address, NodeSurvey]:
        """The data nodes that answered."""
        return {at: n for at, n in self.nodes.items() if isinstance(n, NodeSurvey)}

    @property
    def primary(self) -> Address | None:
        """Whom most Sentinels name, by the highest epoch among equals; the one node without any.

        None in a cluster, which has several.
        """
        if self.cluster is not None:
            return None
        if self.master_name is None:
            return next(iter(self.nodes), None)
        named = [(s.named, s.epoch) for s in self.heard.values()]
        votes = [at for at, _ in named]
        best = max(named, key=lambda each: (votes.count(each[0]), each[1]), default=None)
        return best[0] if best else None

    @property
    def migrating(self) -> bool:
        """Whether a Sentinel waits as long for its primary as only a migration has it wait."""
        waits = (int(each.master["down-after-milliseconds"]) for each in self.heard.values())
        return any(each >= A_MONTH for each in waits)

    @property
    def endpoint(self) -> Address | None:
        """The one address that is configured, where there are neither Sentinels nor a cluster."""
        alone = self.master_name is None and self.cluster is None
        return self.primary if alone else None

    @property
    def forbidden(self) -> frozenset[str]:
        """The commands that a managed service keeps from us."""
        return frozenset().union(*(node.forbidden for node in self.alive.values()))

    @property
    def primaries(self) -> tuple[Address, ...]:
        """All that take writes: the primary, or in a cluster whoever holds slots."""
        if self.cluster is not None:
            return tuple(holder.address for holder in self.cluster.holders)
        return () if self.primary is None else (self.primary,)

    @property
    def boots(self) -> frozenset[str]:
        """Boot ids of our own instances that live."""
        alive = [self.alive[at] for at in self.primaries if at in self.alive]
        return frozenset(boot for node in alive for boot in node.beating)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Our own instances that live, by what the primaries have; in a cluster one has it all."""
        living = self.boots  # the rows of the last to end stay
        rows = {boot: row for boot, row in self._presence.items() if boot in living}
        return tuple(sorted(instances_of(rows), key=lambda instance: instance.name))

    @property
    def garbled(self) -> tuple[str, ...]:
        """Boot ids in the presence whose rows no instance of ours has written."""
        rows = self._presence.items()
        return tuple(sorted(boot for boot, row in rows if read_instance(row) is None))

    @property
    def _presence(self) -> dict[str, str]:
        alive = [self.alive[at] for at in self.primaries if at in self.alive]
        return {boot: row for node in alive for boot, row in node.rows.items()}


def readable(raw: bytes) -> str:
    """Text out of the presence, whatever somebody has put there, as `redis-cli` has it in quotes.

    It is one line and ends no quotes, so that nobody forges a finding, or what operators copy.
    """
    quoted = raw.replace(b"\\", rb"\\").replace(b'"', rb"\"")
    return "".join(map(_in_quotes, quoted.decode("utf-8", "backslashreplace")))


def _in_quotes(character: str) -> str:
    # A shell would act on the last two.
    if character.isprintable() and character not in "$`":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def read_instance(row: str) -> Instance | None:
    """Read a row of presence, see scripts/beat.lua; None where it is none."""
    words = row.split(" ", 8)
    if len(words) < 9:
        return None
    _, policies, staleness, by_redis, alone, fingerprint, outbox, tokens, name = words
    try:
        return Instance(
            name,
            policies,
            None if staleness == "-" else float(staleness),
            int(by_redis),
            int(alone),
            fingerprint,
            outbox,
            int(tokens),
        )
    except ValueError:
        return None


def instances_of(rows: Mapping[str, str]) -> list[Instance]:
    """Each instance once, by the rows of those that live.

    One that comes by several ways to this Redis has a row for each, with what it decided by that
    way: its revocations are in the row under its boot id alone (`state.presence.row_id`).
    """
    found: dict[str, Instance] = {}
    for boot, row in sorted(rows.items()):
        instance, base = read_instance(row), boot.split(".", 1)[0]
        if instance is None:
            continue
        first = found.get(base)
        if first is not None:
            instance = replace(
                first,
                by_redis=first.by_redis + instance.by_redis,
                alone=first.alone + instance.alone,
            )
        found[base] = instance
    return list(found.values())


def address_of(row: Row) -> Address:
    """The address in a row of a Sentinel, or of `INFO replication`."""
    return Address(str(row["ip"]), int(row["port"]))


def flags_of(row: Row) -> frozenset[str]:
    """The flags in a row of a Sentinel."""
    return frozenset(str(row["flags"]).split(","))


def kept_of(secret: str) -> str:
    """What is kept of a secret."""
    if not secret:
        return EMPTY
    return UNEXPANDED if "${" in secret else SET
