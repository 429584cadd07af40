"""One Redis, alone."""

from __future__ import annotations

from .node import Node
from .server import Server
from .topology import Site, launch_redis, settle_answers


class StandaloneTopology:
    """The mode `standalone`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def primary(self) -> Node:
        """The only node."""
        return self._site.data[0]

    def bring_up(self, server: Server, primary: str, *, moved: bool) -> None:  # noqa: ARG002 - the face of a topology
        """Start the node; nothing else knows its port, so a move needs nothing."""
        self.revive(server, self._site.data, wipe=False)

    def revive(self, server: Server, nodes: tuple[Node, ...], *, wipe: bool) -> None:
        """Start the node again, with its data unless that is wiped."""
        for node in nodes:
            if wipe:
                node.wipe()
            launch_redis(self._site, node, server, primary=None)
        settle_answers(self._site, nodes)

    def environment(self) -> dict[str, str]:
        """A URL, and the password apart from it."""
        return {
            "ARAGORA_REDIS_URL": f"redis://{self.primary().address}/0",
            "ARAGORA_REDIS_PASSWORD": self._site.credentials.redis_password,
        }
