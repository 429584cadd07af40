"""What is to be deployed, as one checked value. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import InvalidInputError
from ..report import MOST_BACKLOG

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_MASTER = re.compile(r"[A-Za-z0-9._-]+")
_MEMORY = re.compile(r"(\d+)(mb|gb)")
_QUANTITY = re.compile(r"[1-9]\d*(Mi|Gi|Ti)")
_MIB = {"Mi": 1, "Gi": 1024, "Ti": 1024**2}
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_LEAST_MEMORY_MIB = 64
_ENOUGH_BACKLOG_MIB = 64
_MOST_NODES = 9
_CLUSTER_NODES, _MOST_CLUSTER_NODES = 6, 18


@dataclass(frozen=True, slots=True)
class Plan:
    """One Redis under Sentinels, or a Redis Cluster, and the gateway that uses it.

    Raises:
        InvalidInputError: a value that no deployment can have.
    """

    namespace: str = "aragora"
    nodes: int = 3
    """How many servers: with Sentinels beside them an odd number from three; in a cluster, where
    each primary has a replica, an even number from six."""
    master: str = "aragora-master"
    """By which name the Sentinels know the primary."""
    maxmemory: str = "256mb"
    """What one server may hold, as redis.conf says it."""
    storage: str | None = None
    """The volume of one server, as Kubernetes says it; by default four times `maxmemory`."""
    down_after_ms: int = 5000
    failover_timeout_ms: int = 60_000
    redis_image: str = "redis:7-alpine"
    exporter_image: str = "oliver006/redis_exporter:v1.45.0-alpine"
    """One with a shell."""
    image: str = "aragora-redis:latest"
    """What the Dockerfile builds."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """ARAGORA_* of the gateway, none of them secret."""
    cluster: bool = False
    """Whether it is a Redis Cluster."""

    def __post_init__(self) -> None:
        for value, rule, what in (
            (self.namespace, _LABEL, "a namespace: lower-case letters, digits and -, at most 63"),
            (self.master, _MASTER, "a name for the primary: letters, digits and ._-"),
            (self.maxmemory, _MEMORY, "an amount of memory such as 256mb or 2gb"),
            (self.volume, _QUANTITY, "the size of a volume such as 1Gi"),
            (self.redis_image, _IMAGE, "an image"),
            (self.exporter_image, _IMAGE, "an image"),
            (self.image, _IMAGE, "an image"),
        ):
            if not rule.fullmatch(value):
                raise InvalidInputError(f"{value!r} is not {what}")
        if self.cluster and self.nodes not in range(_CLUSTER_NODES, _MOST_CLUSTER_NODES + 1, 2):
            raise InvalidInputError(
                f"{self.nodes} nodes cannot be a Redis Cluster: at least three primaries vote, and "
                f"each has a replica, so take an even number from {_CLUSTER_NODES} to "
                f"{_MOST_CLUSTER_NODES}"
            )
        if not self.cluster and self.nodes not in range(3, _MOST_NODES + 1, 2):
            raise InvalidInputError(
                f"{self.nodes} nodes cannot be: the Sentinels beside them decide by majority, so "
                f"take an odd number from 3 to {_MOST_NODES}"
            )
        if self.maxmemory_mib < _LEAST_MEMORY_MIB:
            raise InvalidInputError(
                f"{self.maxmemory} is too little: at least {_LEAST_MEMORY_MIB}mb"
            )
        if int(self.volume[:-2]) * _MIB[self.volume[-2:]] < 2 * self.maxmemory_mib:
            raise InvalidInputError(
                f"a volume of {self.volume} is too little for {self.maxmemory} of memory: while "
                "the append-only file is rewritten, the old and the new one are there, so at least "
                f"{2 * self.maxmemory_mib}Mi",
                remedy="without --storage it is four times --maxmemory",
            )
        if not 1000 <= self.down_after_ms <= self.failover_timeout_ms:
            raise InvalidInputError(
                f"{self.down_after_ms} ms is not between a second, below which pauses of a healthy "
                f"server count as its death, and the failover timeout of "
                f"{self.failover_timeout_ms} ms"
            )

    @classmethod
    def of_cluster(cls, *, nodes: int = _CLUSTER_NODES, **rest: Any) -> Plan:
        """A Redis Cluster, of six nodes unless there shall be more."""
        return cls(nodes=nodes, cluster=True, **rest)

    @property
    def as_cluster(self) -> Plan:
        """The Redis Cluster that stands in the place of this one."""
        return self if self.cluster else replace(self, nodes=_CLUSTER_NODES, cluster=True)

    @property
    def primaries(self) -> int:
        """How many of the nodes of a cluster share the slots at first."""
        return self.nodes // 2

    @property
    def quorum(self) -> int:
        """How many Sentinels must miss the primary: the majority, which must elect anyway."""
        return self.nodes // 2 + 1

    @property
    def pods(self) -> tuple[str, ...]:
        """The servers' names, in order."""
        return tuple(f"redis-{number}" for number in range(self.nodes))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Their names in a cluster, in order, which every namespace resolves."""
        return self.hosts_of("redis")

    def hosts_of(self, service: str) -> tuple[str, ...]:
        """As many names of the pods of a StatefulSet that is called like its Service."""
        domain = f"{service}.{self.namespace}.svc.cluster.local"
        return tuple(f"{service}-{number}.{domain}" for number in range(self.nodes))

    @property
    def sentinel_hosts(self) -> str:
        """What ARAGORA_REDIS_SENTINEL_HOSTS says in the same namespace."""
        return ",".join(f"{pod}.redis:26379" for pod in self.pods)

    @property
    def migration_sentinels(self) -> str:
        """The same while Sentinels of their own watch a single Redis that is migrated."""
        return ",".join(f"sentinel-{number}.sentinel:26379" for number in range(self.nodes))

    @property
    def cluster_nodes(self) -> str:
        """What ARAGORA_REDIS_CLUSTER_NODES says in the same namespace."""
        return ",".join(f"{pod}.redis:6379" for pod in self.pods)

    @property
    def maxmemory_mib(self) -> int:
        """`maxmemory` in MiB."""
        found = _MEMORY.fullmatch(self.maxmemory)
        number, unit = found.groups() if found else ("0", "mb")
        return int(number) * (1024 if unit == "gb" else 1)

    @property
    def backlog_mib(self) -> int:
        """What is kept of the writes for replicas that were away."""
        return min(_ENOUGH_BACKLOG_MIB, int(MOST_BACKLOG * self.maxmemory_mib))

    @property
    def memory_limit_mib(self) -> int:
        """What the container may take: a rewrite of the AOF may double what is held."""
        return 2 * self.maxmemory_mib

    @property
    def volume(self) -> str:
        """`storage`: by default for the append-only file, what it grows by and its rewrite."""
        return f"{-(-4 * self.maxmemory_mib // 1024)}Gi" if self.storage is None else self.storage

    @property
    def backup_storage(self) -> str:
        """Room for seven copies and the one that is being made."""
        return f"{-(-8 * self.maxmemory_mib // 1024)}Gi"

    @property
    def memory_request_mib(self) -> int:
        """What the container is sure to get."""
        return self.maxmemory_mib // 2
