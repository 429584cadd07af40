"""One primary, its replicas, and the Sentinels that decide which is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from . import admin
from .config import (
    FAILOVER_TIMEOUT_MS,
    MASTER_NAME,
    QUORUM,
    Monitored,
    SentinelConfig,
    read_monitored,
    render_sentinel,
)
from .files import write_private
from .node import Kind, Node
from .process import State
from .server import Server
from .topology import Site, launch_redis, settle, settle_answers
from .waiting import wait_until

# A vote that elects nobody is held again after twice the Sentinels' failover timeout.
_FAILOVER_SECONDS = 10.0 + 2 * FAILOVER_TIMEOUT_MS / 1000
_ABSENT = {"s_down", "disconnected"}


class SentinelTopology:
    """The mode `sentinel`.

    A node that comes back is a replica of whomever the Sentinels name. It is started as primary
    only while they still name it and nobody is left who could take its place: whatever a stale
    primary accepted would be lost when it is demoted.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def primary(self) -> Node:
        """The primary by the living Sentinels, else by the nodes, else by the Sentinels' files."""
        site = self._site
        living = [
            view
            for node in site.sentinels
            if node.state is State.RUNNING
            and (view := admin.monitored(node, site.access(node))) is not None
        ]
        filed = [
            view
            for node in site.sentinels
            if node.config_path.exists()
            and (view := read_monitored(node.config_path.read_text("utf-8"))) is not None
        ]
        masters = (
            [] if living else [node.port for node in site.data if self._role(node) == "master"]
        )
        port = decide_primary(living, filed, masters)
        return site.data[0] if port is None else site.by_port(port)

    def bring_up(self, server: Server, primary: str, *, moved: bool) -> None:
        """Start the primary, its replicas, then the Sentinels."""
        leader = next(node for node in self._site.data if node.name == primary)
        self._launch(server, self._site.nodes, leader, moved=moved)
        settle(self._site.nodes, self._lacking)

    def revive(self, server: Server, nodes: tuple[Node, ...], *, wipe: bool) -> None:
        """Start nodes again; the primary among them only after its failover did not come."""
        leader = self.primary()
        if leader in nodes:
            self._await_failover(leader)
            leader = self.primary()
        if wipe:
            for node in nodes:
                node.wipe()
        self._launch(server, nodes, leader, moved=False)
        if all(node.state is State.RUNNING for node in self._site.nodes):
            settle(nodes, self._lacking)
        elif leader.state is State.RUNNING:
            settle(nodes, lambda: self._unlinked(_of_kind(nodes, Kind.REDIS), leader))

    def environment(self) -> dict[str, str]:
        """The Sentinels, and both passwords."""
        return {
            "ARAGORA_REDIS_SENTINEL_MASTER": MASTER_NAME,
            "ARAGORA_REDIS_SENTINEL_HOSTS": ",".join(
                str(node.address) for node in self._site.sentinels
            ),
            "ARAGORA_REDIS_SENTINEL_PASSWORD": self._site.credentials.sentinel_password,
            "ARAGORA_REDIS_PASSWORD": self._site.credentials.redis_password,
        }

    def _launch(
        self, server: Server, nodes: tuple[Node, ...], leader: Node, *, moved: bool
    ) -> None:
        # The primary takes connections before anyone asks for it: a replica or a Sentinel that is
        # refused once tries again only after a second.
        site = self._site
        data = _of_kind(nodes, Kind.REDIS)
        if leader in data:
            launch_redis(site, leader, server, primary=None)
            settle_answers(site, [leader])
        for node in data:
            if node != leader:
                launch_redis(site, node, server, primary=leader)
        settle_answers(site, data)
        sentinels = _of_kind(nodes, Kind.SENTINEL)
        for node in sentinels:
            if moved or not node.config_path.exists():
                self._configure_sentinel(node, leader, server)
            node.launch(server)
        settle_answers(site, sentinels)
        if server.has_sentinel_debug:
            for node in sentinels:
                admin.look_often(node, site.access(node))
        for node in sentinels:
            admin.set_down_after(node, site.access(node), site.down_after_ms)

    def _configure_sentinel(self, node: Node, leader: Node, server: Server) -> None:
        site = self._site
        text = render_sentinel(
            SentinelConfig(
                host=node.address.host,
                port=node.port,
                directory=node.directory,
                names_source=server.names_source,
                primary=leader.address,
                down_after_ms=site.down_after_ms,
            ),
            password=site.credentials.sentinel_password,
            data_password=site.credentials.redis_password,
        )
        write_private(node.config_path, text)

    def _await_failover(self, leader: Node) -> None:
        """Let the Sentinels replace a dead primary first, where they can."""
        site = self._site
        heirs = [n for n in site.data if n != leader and n.state is State.RUNNING]
        judges = [n for n in site.sentinels if n.state is State.RUNNING]
        if heirs and len(judges) * 2 > len(site.sentinels):
            wait_until(
                lambda: "the same" if self.primary() == leader else "",
                seconds=site.down_after_ms / 1000 + _FAILOVER_SECONDS,
            )

    def _role(self, node: Node) -> str | None:
        if node.state is not State.RUNNING:
            return None
        return admin.role(node, self._site.access(node))

    def _lacking(self) -> str:
        """What keeps the whole topology from being usable, empty where nothing does."""
        site = self._site
        leader = self.primary()
        if lacking := self._unlinked(site.data, leader):
            return lacking
        info = admin.replication(leader, site.access(leader))
        if not info.get("min_slaves_good_slaves"):
            return f"{leader.name} has no replica that keeps up"
        for node in site.sentinels:
            if lacking := self._unaware(node, leader):
                return f"{node.name} {lacking}"
        return ""

    def _unlinked(self, nodes: Iterable[Node], leader: Node) -> str:
        for node in nodes:
            info = admin.replication(node, self._site.access(node))
            if node == leader:
                if info.get("role") != "master":
                    return f"{node.name} is not primary"
            elif info.get("master_link_status") != "up" or info["master_port"] != leader.port:
                return f"{node.name} is not linked to {leader.name}"
        return ""

    def _unaware(self, sentinel: Node, leader: Node) -> str:
        site = self._site
        access = site.access(sentinel)
        view = admin.sentinel_master(sentinel, access)
        if view.get("port") != leader.port or view["flags"] != "master":
            return f"does not see {leader.name} as a healthy primary"
        if view["num-other-sentinels"] != len(site.sentinels) - 1:
            return "does not know the other Sentinels"
        fellows = admin.sentinel_fellows(sentinel, access)
        if any(_ABSENT & set(fellow["flags"].split(",")) for fellow in fellows):
            return "is not connected to the other Sentinels"
        replicas = admin.sentinel_replicas(sentinel, access)
        good = [r for r in replicas if r["flags"] == "slave" and r["master-link-status"] == "ok"]
        return "" if len(good) == len(site.data) - 1 else "does not see all replicas linked"


def decide_primary(
    living: Sequence[Monitored], filed: Sequence[Monitored], masters: Sequence[int]
) -> int | None:
    """The port of the primary, or None where nobody has ever known one.

    Two living Sentinels that agree decide. Otherwise the highest epoch does, as among Sentinels
    themselves, over what the living say and what all have written down: a Sentinel that stood
    still through a failover names the old primary. With no living Sentinel, a single node that
    calls itself master counts for more than the files.

    Args:
        living: what the Sentinels that answer hold.
        filed: what the Sentinels' own files hold, the dead ones' too.
        masters: ports of the living nodes that call themselves master, if no Sentinel answers.
    """
    if living:
        port, votes = Counter(view.port for view in living).most_common(1)[0]
        if votes >= QUORUM:
            return port
    elif len(masters) == 1:
        return masters[0]
    known = [*living, *filed]
    return max(known).port if known else None


def _of_kind(nodes: Iterable[Node], kind: Kind) -> tuple[Node, ...]:
    return tuple(node for node in nodes if node.kind is kind)
