"""What every mode can do, and what all of them need for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from ..errors import LabError
from . import admin
from .access import Access
from .config import MIN_REPLICAS, RedisConfig, ServiceConfig, render_redis
from .credentials import Credentials, load_credentials
from .files import write_private
from .manifest import Manifest
from .node import Kind, Node
from .process import State
from .server import Server
from .service import Premises
from .waiting import wait_until

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Site:
    """The servers of a lab, and what opens them."""

    nodes: tuple[Node, ...]
    credentials: Credentials
    down_after_ms: int
    premises: Premises | None = None
    """For a managed service."""

    @classmethod
    def of(cls, found: Manifest, directory: Path) -> Self:
        """The servers of a lab, as its manifest has them."""
        return cls(
            found.nodes(directory),
            load_credentials(directory),
            found.down_after_ms,
            None if found.service is None else Premises(found.service, directory),
        )

    @property
    def provider(self) -> Node:
        """Who runs a managed service."""
        return next(node for node in self.nodes if node.kind is Kind.PROVIDER)

    @property
    def data(self) -> tuple[Node, ...]:
        """The Redis nodes, by ordinal."""
        return tuple(node for node in self.nodes if node.kind is Kind.REDIS)

    @property
    def replicated(self) -> bool:
        """Whether a primary of it has replicas."""
        return len(self.data) > 1

    @property
    def clustered(self) -> bool:
        """Whether the data nodes are a Redis Cluster."""
        return self.data[0].bus_port is not None

    @property
    def min_replicas(self) -> int:
        """Without how many replicas a primary refuses writes.

        The primaries of a cluster and of a managed service have one each: with this a failover
        would end in refusals.
        """
        return MIN_REPLICAS if len(self.data) > 2 and not self.clustered else 0

    @property
    def sentinels(self) -> tuple[Node, ...]:
        """The Sentinels, by ordinal."""
        return tuple(node for node in self.nodes if node.kind is Kind.SENTINEL)

    def access(self, node: Node) -> Access:
        """What opens a node to the lab."""
        if node.kind is Kind.SENTINEL:
            return Access(self.credentials.sentinel_password)
        if self.premises is None:
            return Access(self.credentials.redis_password)
        return Access(
            self.credentials.redis_password,
            ca=self.premises.ca,
            secret_names=self.premises.secret_names,
        )

    def by_port(self, port: int) -> Node:
        """The data node on a port.

        Raises:
            LabError: a Sentinel names a server that is not of this lab.
        """
        for node in self.data:
            if node.port == port:
                return node
        raise LabError(
            f"the Sentinels follow a server on port {port}, which is not of this lab",
            remedy="stop the lab, remove its directory and start it anew",
        )


class Topology(Protocol):
    """One mode's way to bring servers up and to know its primary."""

    def __init__(self, site: Site) -> None: ...

    def primary(self) -> Node:
        """The primary: as the lab's servers say now, else as they last knew."""

    def bring_up(self, server: Server, primary: str, *, moved: bool) -> None:
        """Start everything, all of it dead, and wait until it is usable.

        Args:
            server: the program to run.
            primary: name of the node to start as primary.
            moved: the ports are not those of the last run.
        """

    def revive(self, server: Server, nodes: tuple[Node, ...], *, wipe: bool) -> None:
        """Start some dead nodes again in the place that the living have for them.

        Args:
            server: the program to run.
            nodes: which.
            wipe: delete the data of those among them that hold any.
        """

    def environment(self) -> dict[str, str]:
        """The settings that lead a client to this topology."""


def launch_redis(
    site: Site,
    node: Node,
    server: Server,
    *,
    primary: Node | None,
    service: ServiceConfig | None = None,
) -> None:
    """Write a data node's configuration and start it, as a replica where a primary is given."""
    config = RedisConfig(
        host=node.address.host,
        port=node.port,
        directory=node.directory,
        names_source=server.names_source,
        min_replicas=site.min_replicas,
        replica_of=None if primary is None else primary.address,
        node_timeout_ms=None if node.bus_port is None else site.down_after_ms,
        service=service,
    )
    write_private(node.config_path, render_redis(config, password=site.credentials.redis_password))
    node.launch(server)


def settle(nodes: Iterable[Node], missing: Callable[[], str]) -> None:
    """Wait until nothing is missing.

    Raises:
        LabError: it still is after 30 seconds, or one of the nodes has died.
    """
    nodes = tuple(nodes)
    dead: list[Node] = []

    def lacking() -> str:
        dead[:] = [node for node in nodes if node.state is State.DEAD]
        return "" if dead else missing()

    lacked = wait_until(lacking, seconds=START_SECONDS)
    if dead:
        raise LabError(
            f"{dead[0].name} ended at once; its log ends with:\n{dead[0].log_tail()}",
            remedy="mend what it complains of, stop the lab and start it again",
        )
    if lacked:
        logs = "\n".join(f"{node.name}: {node.log_tail(2)}" for node in nodes)
        raise LabError(
            f"after {START_SECONDS:g} s {lacked}; the logs end with:\n{logs}",
            remedy="stop the lab and start it again",
        )


def settle_answers(site: Site, nodes: Iterable[Node]) -> None:
    """Wait until each takes commands, with its data loaded.

    Raises:
        LabError: one died, or does not in time.
    """
    nodes = tuple(nodes)
    settle(
        nodes,
        lambda: next(
            (
                f"{node.name} does not answer"
                for node in nodes
                if not admin.answers(node, site.access(node))
            ),
            "",
        ),
    )
