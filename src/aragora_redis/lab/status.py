"""How the servers of a lab are, each asked for itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..address import Address
from . import admin
from .cuts import Cut
from .manifest import Mode
from .members import shown
from .node import Kind, Node
from .process import State
from .topology import Site

_ROLES = {"master": "primary", "slave": "replica"}


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One server, as it is now."""

    name: str
    kind: Kind
    host: str
    port: int
    state: State
    pid: int | None
    role: str | None = None
    """`primary` or `replica` as the node itself says; None for Sentinels and where none answers."""
    replicates: str | None = None
    """In a cluster, the name of a replica's primary."""
    slots: str | None = None
    """In a cluster, the slots of a primary as ranges, like `0-5460,5462`."""

    @property
    def address(self) -> Address:
        """Where it is for the other nodes and for clients."""
        return Address(self.host, self.port)


@dataclass(frozen=True, slots=True)
class LabStatus:
    """A lab, as it is now."""

    directory: Path
    mode: Mode
    primary: str
    """Name of the primary: as the Sentinels or the cluster's nodes say, or last said."""
    nodes: tuple[NodeStatus, ...]
    cuts: tuple[Cut, ...] = ()

    @property
    def running(self) -> bool:
        """Whether any of its servers lives."""
        return any(node.state is not State.DEAD for node in self.nodes)


def node_status(node: Node, site: Site) -> NodeStatus:
    """How a server is now."""
    state, role = node.state, None
    replicates = slots = None
    if node.kind is Kind.REDIS and state is State.RUNNING:
        role = _ROLES.get(admin.role(node, site.access(node)) or "")
        if site.clustered:
            replicates, slots = _place(node, site)
    return NodeStatus(node.name, node.kind, *node.address, state, node.pid, role, replicates, slots)


def _place(node: Node, site: Site) -> tuple[str | None, str | None]:
    """In a cluster: whom it replicates, or which slots it owns."""
    view = admin.cluster_view(node, site.access(node))
    if view is None:
        return None, None
    if view.me.primary_id is None:
        return None, shown(view.me.slots)
    at = {each.node_id: each.address.port for each in view.members}
    names = {each.port: each.name for each in site.data}
    return names.get(at.get(view.me.primary_id, 0)), None
