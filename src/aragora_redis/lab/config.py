"""The text of redis.conf and sentinel.conf, and what a Sentinel has written into its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..address import Address

MASTER_NAME = "aragora-master"
HOST = "127.0.0.1"
"""Where every node can be asked, beside the address that it has among the others."""
QUORUM = 2
FAILOVER_TIMEOUT_MS = 10_000
MAX_MEMORY = "256mb"
MIN_REPLICAS = 1
NODES_FILE = "nodes.conf"
"""What a cluster's node writes down of the cluster, its own name and slots among it."""

# Without /proc, a process is recognised as ours by the file's path in its title.
_COMMON = """\
bind {bind}
port {port}
protected-mode yes
dir {directory}
requirepass {password}
proc-title-template "{{title}} {{config-file}}"
"""

_REDIS = """\
masterauth {password}
appendonly yes
appendfsync everysec
save ""
maxmemory {max_memory}
maxmemory-policy noeviction
repl-backlog-size 64mb
repl-ping-replica-period 1
repl-timeout 10
repl-diskless-sync yes
repl-diskless-sync-delay 0
replica-priority 100
tcp-backlog 4096
"""

# A primary that has lost its replicas stops acknowledging writes that a failover would lose.
_MIN_REPLICAS = """\
min-replicas-to-write {min_replicas}
min-replicas-max-lag 3
"""

# A shard without nodes leaves the others at work. Nodes name themselves by the address that `cut`
# knows, whatever address another one has seen them at.
_CLUSTER = """\
cluster-enabled yes
cluster-config-file {nodes_file}
cluster-node-timeout {down_after_ms}
cluster-require-full-coverage no
cluster-announce-ip {host}
"""

_SENTINEL = """\
sentinel sentinel-pass {password}
sentinel monitor {name} {host} {primary} {quorum}
sentinel auth-pass {name} {data_password}
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} {failover_timeout_ms}
sentinel parallel-syncs {name} 1
"""


# A service takes no connection that is not TLS, from its replica neither.
_SERVICE = """\
tls-port {port}
tls-replication yes
tls-auth-clients no
tls-cert-file {certificate}
tls-key-file {key}
tls-ca-cert-file {ca}
timeout {idle_seconds}
user {app} {rights} {passwords}
"""
# SCRIPT FLUSH and KILL reach into the calls of others. Redis 6.2 cannot take subcommands away.
_APP_RIGHTS = "on ~* &* +@all -@dangerous +info +role -script +script|load +script|exists"


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a node of a managed service has beside."""

    inner_host: str
    """Where those who run the service reach it."""
    ca: Path
    certificate: Path
    key: Path
    idle_seconds: int
    app: str
    """The user that clients log in as."""
    digests: Iterable[str]
    """SHA-256 of each password of that user."""
    secret_names: Mapping[str, str] = field(repr=False)
    """What forbidden commands are called instead."""


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """What one redis.conf depends on."""

    host: str
    port: int
    directory: Path
    names_source: bool
    """The server takes `bind-source-addr`; an older one uses its first address by itself."""
    min_replicas: int
    """How many replicas must keep up for a write to be taken."""
    replica_of: Address | None = None
    """The primary, or None for a primary and in a cluster, which keeps that itself."""
    node_timeout_ms: int | None = None
    """Silence after which a cluster calls a node down; None outside of a cluster."""
    service: ServiceConfig | None = None
    """For a node of a managed service."""


@dataclass(frozen=True, slots=True)
class SentinelConfig:
    """What one sentinel.conf depends on."""

    host: str
    port: int
    directory: Path
    names_source: bool
    primary: Address
    down_after_ms: int


class Monitored(NamedTuple):
    """What one Sentinel holds to be the primary. The higher epoch is the later knowledge."""

    epoch: int
    port: int


def render_redis(config: RedisConfig, *, password: str) -> str:
    """A complete redis.conf."""
    text = _common(config, password) + _REDIS.format(password=password, max_memory=MAX_MEMORY)
    if config.min_replicas:
        text += _MIN_REPLICAS.format(min_replicas=config.min_replicas)
    if config.node_timeout_ms is not None:
        text += _CLUSTER.format(
            nodes_file=NODES_FILE, down_after_ms=config.node_timeout_ms, host=config.host
        )
    if config.service is not None:
        text += _render_service(config.service, config.port)
    if config.replica_of is not None:
        text += f"replicaof {config.replica_of.host} {config.replica_of.port}\n"
    return text


def render_sentinel(config: SentinelConfig, *, password: str, data_password: str) -> str:
    """A complete sentinel.conf; the Sentinel writes what it learns into the same file."""
    return _common(config, password) + _SENTINEL.format(
        name=MASTER_NAME,
        host=config.primary.host,
        primary=config.primary.port,
        quorum=QUORUM,
        password=password,
        data_password=data_password,
        down_after_ms=config.down_after_ms,
        failover_timeout_ms=FAILOVER_TIMEOUT_MS,
    )


def read_monitored(text: str) -> Monitored | None:
    """What a Sentinel's own file says of the primary; None where it monitors none."""
    monitor = re.search(rf"^sentinel monitor {MASTER_NAME} \S+ (\d+) ", text, re.MULTILINE)
    if monitor is None:
        return None
    epoch = re.search(rf"^sentinel config-epoch {MASTER_NAME} (\d+)", text, re.MULTILINE)
    return Monitored(int(epoch[1]) if epoch else 0, int(monitor[1]))


def _render_service(service: ServiceConfig, port: int) -> str:
    text = _SERVICE.format(
        port=port,
        certificate=_quoted(service.certificate),
        key=_quoted(service.key),
        ca=_quoted(service.ca),
        idle_seconds=service.idle_seconds,
        app=service.app,
        rights=_APP_RIGHTS,
        passwords=" ".join(f"#{digest}" for digest in service.digests),
    )
    return text + "".join(
        f"rename-command {name} {secret}\n" for name, secret in service.secret_names.items()
    )


def _common(config: RedisConfig | SentinelConfig, password: str) -> str:
    apart = config.host != HOST
    service = config.service if isinstance(config, RedisConfig) else None
    inner = HOST if service is None else service.inner_host
    text = _COMMON.format(
        bind=f"{config.host} {inner}" if apart else HOST,
        port=config.port if service is None else 0,
        directory=_quoted(config.directory),
        password=password,
    )
    if apart and config.names_source:
        # What a node sends is known by its address, so that `cut` can drop it.
        text += f"bind-source-addr {config.host}\n"
    return text


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
