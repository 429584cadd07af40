"""States in which a server lives and answers, but not as it should; each can be mended.

A trouble is made on a living node by the means that an operator's mistake or a full machine would
have: its configuration, its limits, its place in the topology.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

import redis

from ..address import Address
from ..errors import LabError
from ..slots import SLOTS, key_slot
from . import admin
from .access import Access
from .config import FAILOVER_TIMEOUT_MS, HOST, MASTER_NAME, MAX_MEMORY, QUORUM
from .members import owns
from .node import Kind, Node
from .process import State
from .server import find_server
from .topology import Site
from .waiting import wait_until

_NOBODY = Address(HOST, 1)
_BALLAST = 3000
"""Keys that take ten milliseconds each to load, and are gone after a while."""
_BALLAST_SECONDS = 60
_AWAIT_SECONDS = 5.0
_TILT_AFTER = 2.2
"""Seconds of standing still after which a Sentinel no longer trusts its own judgement."""


class Trouble(StrEnum):
    """What can be made of a living node, named after what its clients are told."""

    OOM = "oom"
    """It is at maxmemory, and refuses writes."""
    NOREPLICAS = "noreplicas"
    """It wants more replicas than it has, and refuses writes."""
    READONLY = "readonly"
    """A primary that was made a replica by hand."""
    MASTERDOWN = "masterdown"
    """A replica that has lost its primary, and refuses reads."""
    NOSCRIPT = "noscript"
    """Its scripts are gone."""
    NOAUTH = "noauth"
    """Its password was changed, and its clients were dropped."""
    LOADING = "loading"
    """It was restarted, and loads its data for half a minute."""
    FULL_DISK = "full-disk"
    """Its append-only file cannot grow (MISCONF)."""
    TILT = "tilt"
    """A Sentinel that stood still, and trusts nothing that it saw for half a minute."""
    UNKNOWN_MASTER = "unknown-master"
    """A Sentinel that does not monitor the primary any more."""
    STALE_EPOCH = "stale-epoch"
    """A Sentinel that begins again at epoch 0."""
    FALSE_MASTER = "false-master"
    """A Sentinel that was told that a replica is the primary."""

    @property
    def kind(self) -> Kind:
        """Which nodes can have it."""
        return Kind.SENTINEL if self in _OF_SENTINELS else Kind.REDIS


_OF_SENTINELS = {
    Trouble.TILT,
    Trouble.UNKNOWN_MASTER,
    Trouble.STALE_EPOCH,
    Trouble.FALSE_MASTER,
}
_BY_REPLICAOF = {Trouble.READONLY, Trouble.MASTERDOWN}


def make(trouble: Trouble, node: Node, site: Site, primary: Node) -> None:
    """Bring a trouble upon a living node. `primary` is who is primary now.

    Raises:
        LabError: it cannot be, on this node.
    """
    if trouble.kind is not node.kind:
        raise LabError(
            f"{trouble} is no trouble of {node.name}", remedy=f"name a {trouble.kind} node"
        )
    if site.clustered and trouble in _BY_REPLICAOF:
        raise LabError(
            f"{trouble} takes REPLICAOF, which nodes of a cluster refuse",
            remedy="kill, freeze or cut off its primary instead",
        )
    if node.state is not State.RUNNING:
        raise LabError(f"{node.name} is {node.state}", remedy="bring it back first")
    try:
        _MAKERS[trouble](node, site, primary)
    except admin.NotNow as error:
        raise LabError(
            f"{node.name} did not do what {trouble} takes: {error}", remedy="see lab status"
        ) from error


def mend(node: Node, site: Site, primary: Node) -> None:
    """Undo whatever troubles a living node may have, except its place where Sentinels mend that.

    Raises:
        LabError: it does not let itself be mended.
    """
    try:
        if node.kind is Kind.SENTINEL:
            found = admin.monitored(node, site.access(node))
            if found is None or found.port != primary.port:
                _monitor(node, site, primary)
            return
        _limit_files(node, resource.RLIM_INFINITY)
        with contextlib.suppress(redis.AuthenticationError):  # it has its own password
            _set(node, _other_access(site, node), requirepass=site.access(node).password)
        if not site.replicated:
            with site.access(node).connect(node) as client:
                client.replicaof("NO", "ONE")
        _load_at_once(node, site)
        _set(
            node,
            site.access(node),
            maxmemory=MAX_MEMORY,
            min_replicas_to_write=site.min_replicas,
            replica_serve_stale_data="yes",
        )
    except admin.NotNow as error:
        raise LabError(f"{node.name} could not be mended: {error}", remedy="restart it") from error


def _oom(node: Node, site: Site, _primary: Node) -> None:
    _set(node, site.access(node), maxmemory=1)


def _noreplicas(node: Node, site: Site, _primary: Node) -> None:
    _set(node, site.access(node), min_replicas_to_write=len(site.data))


def _readonly(node: Node, site: Site, primary: Node) -> None:
    leader = next((other for other in site.data if other not in (node, primary)), None)
    _replicate(node, site, leader.address if leader and node == primary else primary.address)


def _masterdown(node: Node, site: Site, _primary: Node) -> None:
    _set(node, site.access(node), replica_serve_stale_data="no")
    _replicate(node, site, _NOBODY)


def _noscript(node: Node, site: Site, _primary: Node) -> None:
    with site.access(node).connect(node) as client:
        client.script_flush()


def _noauth(node: Node, site: Site, _primary: Node) -> None:
    with site.access(node).connect(node) as client:
        client.config_set("requirepass", _other_access(site, node).password)
        # Whoever is logged in stays so, until its connection ends.
        for kind in ("normal", "pubsub"):
            client.client_kill_filter(_type=kind, skipme=True)


def _loading(node: Node, site: Site, _primary: Node) -> None:
    with site.access(node).connect(node) as client:
        try:
            client.config_set("loading-process-events-interval-bytes", 1024)
        except redis.ResponseError as error:
            raise LabError(
                f"{node.name} would not answer while it loads", remedy="use Redis 7.0 or later"
            ) from error
        client.config_set("key-load-delay", 10_000)
        prefix = _ballast_prefix(node, site)
        with client.pipeline(transaction=False) as pipeline:
            for number in range(_BALLAST):
                pipeline.set(f"{prefix}:{number}", os.urandom(1024), ex=_BALLAST_SECONDS)
            pipeline.execute()
        client.config_rewrite()
        client.bgrewriteaof()
        _await(lambda: _rewritten(client), f"{node.name} to write its file anew")
    node.kill()
    node.launch(find_server())
    _await(lambda: _loads(node, site), f"{node.name} to load")


def _ballast_prefix(node: Node, site: Site) -> str:
    """What keys begin with that a node takes; those of a cluster take only their own slots."""
    prefix = "lab:ballast"
    view = admin.cluster_view(node, site.access(node)) if site.clustered else None
    if view is None or not view.me.slots:
        return prefix
    numbered = (f"{prefix}:{{{number}}}" for number in range(SLOTS))
    return next(each for each in numbered if owns(view.me, key_slot(each.encode())))


def _rewritten(client: redis.Redis) -> bool:
    found = client.info("persistence")
    return not found["aof_rewrite_in_progress"] and not found["aof_rewrite_scheduled"]


def _loads(node: Node, site: Site) -> bool:
    try:
        with site.access(node).connect(node) as client:
            return bool(client.info("persistence")["loading"])
    except admin.NotNow:
        return False


def _load_at_once(node: Node, site: Site) -> None:
    with site.access(node).connect(node) as client:
        if client.config_get("key-load-delay")["key-load-delay"] == "0":
            return
        client.config_set("key-load-delay", 0)
        client.config_rewrite()
    _await(lambda: not _loads(node, site), f"{node.name} to have loaded")


def _await(reached: Callable[[], bool], what: str) -> None:
    if wait_until(lambda: "" if reached() else what, seconds=_AWAIT_SECONDS):
        raise LabError(f"waited {_AWAIT_SECONDS:.0f} s for {what}", remedy="see lab status")


def _full_disk(node: Node, _site: Site, _primary: Node) -> None:
    _limit_files(node, 0)


def _tilt(node: Node, _site: Site, _primary: Node) -> None:
    node.freeze()
    time.sleep(_TILT_AFTER)
    node.thaw()


def _unknown_master(node: Node, site: Site, _primary: Node) -> None:
    with site.access(node).connect(node) as client:
        client.sentinel_remove(MASTER_NAME)


def _stale_epoch(node: Node, site: Site, primary: Node) -> None:
    _monitor(node, site, primary)


def _false_master(node: Node, site: Site, primary: Node) -> None:
    _monitor(node, site, next(other for other in site.data if other != primary))


_MAKERS: dict[Trouble, Callable[[Node, Site, Node], None]] = {
    Trouble.OOM: _oom,
    Trouble.NOREPLICAS: _noreplicas,
    Trouble.READONLY: _readonly,
    Trouble.MASTERDOWN: _masterdown,
    Trouble.NOSCRIPT: _noscript,
    Trouble.NOAUTH: _noauth,
    Trouble.LOADING: _loading,
    Trouble.FULL_DISK: _full_disk,
    Trouble.TILT: _tilt,
    Trouble.UNKNOWN_MASTER: _unknown_master,
    Trouble.STALE_EPOCH: _stale_epoch,
    Trouble.FALSE_MASTER: _false_master,
}


def _set(node: Node, access: Access, **configuration: str | int) -> None:
    with access.connect(node) as client:
        for name, value in configuration.items():
            client.config_set(name.replace("_", "-"), value)


def _replicate(node: Node, site: Site, primary: Address) -> None:
    with site.access(node).connect(node) as client:
        client.replicaof(*primary)


def _monitor(sentinel: Node, site: Site, primary: Node) -> None:
    """Have a Sentinel forget what it knows, and begin anew with this primary."""
    with site.access(sentinel).connect(sentinel) as client:
        with contextlib.suppress(redis.ResponseError):  # it knows none
            client.sentinel_remove(MASTER_NAME)
        client.sentinel_monitor(MASTER_NAME, *primary.address, QUORUM)
        for name, value in (
            ("auth-pass", site.credentials.redis_password),
            ("down-after-milliseconds", site.down_after_ms),
            ("failover-timeout", FAILOVER_TIMEOUT_MS),
        ):
            client.sentinel_set(MASTER_NAME, name, value)


def _other_access(site: Site, node: Node) -> Access:
    access = site.access(node)
    return replace(access, password=access.password[::-1])


def _limit_files(node: Node, size: int) -> None:
    if sys.platform != "linux":
        return
    pid = node.pid
    if pid is not None:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
