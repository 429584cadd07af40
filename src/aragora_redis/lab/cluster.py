"""A Redis Cluster: slots on three primaries, each with a replica."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ..slots import SLOTS
from . import admin
from .config import NODES_FILE
from .members import View, decide_owner, sure
from .node import Node
from .process import State
from .server import Server
from .topology import Site, launch_redis, settle, settle_answers
from .waiting import wait_until

PRIMARIES = 3
ORDER_SECONDS = 10.0
"""What a node has for an order; one that changes thousands of slots writes them all to its disk."""

# A vote that elects nobody is held again after four times the silence that makes a node dead.
_FAILOVER_SECONDS = 10.0
_VOTES = 10
# The default of cluster-replica-validity-factor.
_VALIDITY = 10


class ClusterTopology:
    """The mode `cluster`.

    A node that comes back is what the cluster makes of it: its name, its slots and whom it
    replicates are in a file of its own that outlives a wipe of its data. A primary comes back as
    one only where nobody is left who could take its place, so that a wiped one does not give its
    emptiness to its replica.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def primary(self) -> Node:
        """The owner of slot 0, as most of the living nodes say, else by the latest knowledge."""
        return self._owner(0) or self._site.data[0]

    def bring_up(self, server: Server, primary: str, *, moved: bool) -> None:  # noqa: ARG002 - the face of a topology
        """Start all nodes, and make whatever is still missing of a cluster.

        So a start that was interrupted is finished by the next, and nodes whose ports have changed
        find each other again.
        """
        nodes = self._site.data
        self._launch(server, nodes)
        self._hand_out_slots()
        self._introduce()
        self._assign_replicas()
        settle(nodes, self._lacking)

    def revive(self, server: Server, nodes: tuple[Node, ...], *, wipe: bool) -> None:
        """Start nodes again; a primary among them only after its failover did not come."""
        for node in nodes:
            self._await_failover(node)
            if wipe:
                node.wipe()
        self._launch(server, nodes)
        if all(node.state is State.RUNNING for node in self._site.data):
            settle(nodes, self._lacking)
        elif self._has_majority():
            settle(nodes, lambda: self._astray(nodes))

    def environment(self) -> dict[str, str]:
        """The nodes, and their password."""
        return {
            "ARAGORA_REDIS_CLUSTER_NODES": ",".join(str(node.address) for node in self._site.data),
            "ARAGORA_REDIS_PASSWORD": self._site.credentials.redis_password,
        }

    def _launch(self, server: Server, nodes: Iterable[Node]) -> None:
        nodes = tuple(nodes)
        for node in nodes:
            launch_redis(self._site, node, server, primary=None)
        settle_answers(self._site, nodes)

    def _hand_out_slots(self) -> None:
        """Give each of the first nodes those slots of its share that nobody has."""
        views = living_views(self._site)
        members = [member for view in views.values() for member in view.members]
        owned = {slot for member in members for run in member.slots for slot in run}
        for ordinal, node in enumerate(self._site.data):
            # Before it knows another one a node may still be told its epoch; distinct ones spare
            # the cluster the settling of who of two equals is the older.
            if len(views[node].members) == 1 and not views[node].me.epoch:
                self._order(node, "CLUSTER", "SET-CONFIG-EPOCH", ordinal + 1)
            if slots := [slot for slot in share(ordinal) if slot not in owned]:
                self._order(node, "CLUSTER", "ADDSLOTS", *slots)

    def _introduce(self) -> None:
        """Have each node meet those that it does not know, or not at their present address."""
        for node, view in living_views(self._site).items():
            known = {member.address for member in view.members}
            for other in self._site.data:
                if other != node and other.address not in known:
                    self._order(node, "CLUSTER", "MEET", *other.address, *other.ports[1:])
        settle(self._site.data, self._strangers)

    def _assign_replicas(self) -> None:
        """Make those that own nothing replicas, each of the primary that has the fewest."""
        views = living_views(self._site)
        owners = [view.me.node_id for view in views.values() if view.me.slots]
        followers = Counter(dict.fromkeys(owners, 0))
        followers.update(view.me.primary_id for view in views.values() if view.me.primary_id)
        for node, view in views.items():
            if not view.me.primary_id and not view.me.slots:
                primary = min(owners, key=lambda name: followers[name])
                followers[primary] += 1
                self._order(node, "CLUSTER", "REPLICATE", primary)

    def _order(self, node: Node, *words: str | int) -> None:
        with self._site.access(node).connect(node, timeout=ORDER_SECONDS) as client:
            admin.order(client, node, *words)

    def _owner(self, slot: int) -> Node | None:
        filed = filed_views(self._site)
        name = decide_owner(slot, tuple(living_views(self._site).values()), tuple(filed.values()))
        return next((node for node, view in filed.items() if view.me.node_id == name), None)

    def _await_failover(self, node: Node) -> None:
        """Let the cluster replace a dead primary first, where it can."""
        site = self._site
        was = filed_views(site).get(node)
        if was is None or not was.me.slots:
            return
        heirs = [n for n, v in living_views(site).items() if v.me.primary_id == was.me.node_id]
        if any(map(self._may_inherit, heirs)) and self._has_majority():
            wait_until(
                lambda: "the same" if self._owner(was.me.slots[0][0]) == node else "",
                seconds=_FAILOVER_SECONDS + _VOTES * site.down_after_ms / 1000,
            )

    def _may_inherit(self, replica: Node) -> bool:
        """Whether a replica had its primary's data until lately, without which it is not voted."""
        info = admin.replication(replica, self._site.access(replica))
        down_since = int(info.get("master_link_down_since_seconds", 0))
        return 0 <= down_since * 1000 <= _VALIDITY * self._site.down_after_ms

    def _has_majority(self) -> bool:
        """Whether the living primaries can decide anything."""
        views = tuple(living_views(self._site).values())
        slots = {m.slots[0][0] for view in views for m in view.members if m.slots}
        owners = {decide_owner(slot, views) for slot in slots}
        return 2 * sum(view.me.node_id in owners for view in views) > len(owners)

    def _strangers(self) -> str:
        """Which node does not know all the others, each at its address."""
        wanted = {node.address for node in self._site.data}
        views = living_views(self._site)
        for node in self._site.data:
            view = views.get(node)
            if view is None or {each.address for each in view.members} != wanted:
                return f"{node.name} does not know all the others"
            if not all(sure(each) for each in view.others):
                return f"{node.name} is not connected to all the others"
        return ""

    def _lacking(self) -> str:
        """What keeps the whole cluster from being usable, empty where nothing does."""
        if lacking := self._strangers():
            return lacking
        views = living_views(self._site)
        (first, *rest) = views.values()
        if any(view.layout != first.layout for view in rest):
            return "the nodes do not agree who is what"
        if sum(len(run) for member in first.members for run in member.slots) != SLOTS:
            return "some slots are nobody's"
        return self._astray(views)

    def _astray(self, nodes: Iterable[Node]) -> str:
        """Which of the nodes lacks its place in a cluster that works, empty where none does."""
        site = self._site
        views = living_views(site)
        names = {view.me.node_id: node for node, view in views.items()}
        followed = {view.me.primary_id for view in views.values()}
        for node in nodes:
            view = views.get(node)
            if view is None or not admin.cluster_is_ok(node, site.access(node)):
                return f"{node.name} does not say that the cluster is ok"
            if view.me.slots and self._owner(view.me.slots[0][0]) != node:
                return f"{node.name} does not know that it was replaced"
            info = admin.replication(node, site.access(node))
            if view.me.primary_id in names and info.get("master_link_status") != "up":
                return f"{node.name} is not linked to {names[view.me.primary_id or ''].name}"
            if view.me.node_id in followed and not info.get("connected_slaves"):
                return f"{node.name} has no replica"
        return ""


def share(ordinal: int) -> range:
    """The slots that a node of a new cluster owns; none for a replica."""
    if ordinal >= PRIMARIES:
        return range(0)
    return range(*(round(SLOTS * each / PRIMARIES) for each in (ordinal, ordinal + 1)))


def living_views(site: Site) -> Mapping[Node, View]:
    """What each node that runs and answers says of all."""
    return {
        node: view
        for node in site.data
        if node.state is State.RUNNING
        and (view := admin.cluster_view(node, site.access(node))) is not None
    }


def filed_views(site: Site) -> Mapping[Node, View]:
    """What each node has written down of all, for nodes that were ever started."""
    files = {node: node.directory / NODES_FILE for node in site.data}
    return {
        node: view
        for node, file in files.items()
        if file.exists() and (view := View.read(file.read_text("utf-8"))) is not None
    }
