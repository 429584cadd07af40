"""A managed service: two nodes behind one name, and a provider that decides who is behind it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from ..clock import SYSTEM_CLOCK
from ..errors import LabError
from ..extras import installing
from . import admin
from .config import ServiceConfig
from .files import write_private
from .hint import command
from .node import Kind, Node
from .passwords import Accepted, accept, accepted, digest_of, in_force
from .process import State
from .provider.records import Order, Record, give_order, read_record
from .server import Server
from .service import APP, Premises
from .topology import Site, launch_redis, settle, settle_answers
from .waiting import wait_until

_ORDER_SECONDS = 10.0
_FAILOVER_SECONDS = 3.0


class ManagedTopology:
    """The mode `managed`.

    A node that comes back is what it was at its end: a former primary that was not told of its
    replacement says that it is one, until the provider has seen it. It is started only after its
    failover, where that can come, so that a wiped one does not give its emptiness to its replica.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        if site.premises is None:
            raise LabError(
                "this lab does not say what its service is like",
                remedy="remove its directory and start it anew",
            )
        self._premises: Premises = site.premises

    def primary(self) -> Node:
        """The node that the name leads to."""
        return self._premises.leads_to(self._site.data) or self._site.data[0]

    @property
    def record(self) -> Record:
        """What the provider has decided."""
        return read_record(self._site.provider.directory)

    @property
    def down_after(self) -> float:
        """Seconds of silence after which the provider replaces a primary."""
        return self._site.down_after_ms / 1000

    @property
    def name_delay(self) -> float:
        """Seconds for which the name then still leads to the old one."""
        return self._premises.service.name_delay_ms / 1000

    def bring_up(self, server: Server, primary: str, *, moved: bool) -> None:  # noqa: ARG002 - the face of a topology
        """Start the provider and both nodes, each as what it was at its end."""
        if not server.speaks_tls():
            raise LabError(
                f"{server.path} was built without TLS, and a managed lab speaks nothing else",
                remedy="name one with TLS in ARAGORA_REDIS_SERVER, as the packages of "
                "distributions are",
            )
        _make_certificates(self._premises)
        self._premises.point(self._node(self.record.primary))
        self._launch(server, self._site.nodes)
        settle(self._site.nodes, self.lacking)

    def revive(self, server: Server, nodes: tuple[Node, ...], *, wipe: bool) -> None:
        """Start nodes again; the primary among them only after its failover did not come."""
        for node in nodes:
            if node.name == self.record.primary:
                self._await_failover(node)
            if wipe:
                node.wipe()
        self._launch(server, nodes)
        if all(node.state is State.RUNNING for node in self._site.nodes):
            settle(nodes, self.lacking)

    def environment(self) -> dict[str, str]:
        """The name, and what opens it."""
        premises = self._premises
        return {
            "ARAGORA_REDIS_URL": f"rediss://{premises.service.name}:{self._site.data[0].port}/0",
            "ARAGORA_REDIS_USERNAME": APP,
            "ARAGORA_REDIS_PASSWORD_FILE": str(premises.password_file),
            "ARAGORA_REDIS_TLS_CA": str(premises.ca),
            "ARAGORA_REDIS_TLS_VERIFY": "full",
            "ARAGORA_REDIS_HOSTS_FILE": str(premises.hosts_file),
        }

    def switch(self) -> Node:
        """Have the other node promoted, once it has all; the name follows later.

        Returns:
            The new primary.

        Raises:
            LabError: it came to nothing.
        """
        provider = self._provider("switch")
        taker = next(node for node in self._site.data if node.name != self.record.primary)
        order = Order(secrets.token_hex(8), taker.name)
        give_order(provider.directory, order)
        left = wait_until(
            lambda: (
                ""
                if (found := self.record).order == order.order and found.heir is None
                else f"the provider has not promoted {taker.name}"
            ),
            seconds=_ORDER_SECONDS,
        )
        if left or self.record.primary != taker.name:
            raise LabError(
                f"nothing was switched: {left or self.record.refusal}",
                remedy=f"see lab status, and {provider.log_path}",
            )
        return taker

    def rotate(self, overlap: float) -> None:
        """Have clients log in with a new password; the one before is taken for a while.

        Args:
            overlap: seconds.

        Raises:
            LabError: the nodes do not take it, and all is as it was.
        """
        premises = self._premises
        provider = self._provider("rotate")
        before = accepted(premises)
        current = digest_of(premises.password_file.read_text("utf-8").strip())
        password = secrets.token_hex(32)
        new = Accepted(digest_of(password))
        accept(premises, [new, Accepted(current)])
        left = wait_until(lambda: self._refusing(new.digest), seconds=_ORDER_SECONDS)
        if left:
            accept(premises, before)
            raise LabError(left, remedy=f"see lab status, and {provider.log_path}")
        write_private(premises.password_file, password + "\n")
        accept(premises, [new, Accepted(current, SYSTEM_CLOCK.wall() + overlap)])

    def lacking(self) -> str:
        """What keeps the service from being whole, empty where nothing does."""
        site, record = self._site, self.record
        if record.pid != site.provider.pid:
            return f"{site.provider.name} does not look after the nodes"
        leader = self._node(record.primary)
        if self._premises.leads_to(site.data) != leader:
            return f"the name does not lead to {leader.name}"
        if admin.role(leader, site.access(leader)) != "master":
            return f"{leader.name} is no primary"
        for node in site.data:
            if node != leader:
                info = admin.replication(node, site.access(node))
                follows = info.get("master_host") == leader.address.host
                if not follows or info.get("master_link_status") != "up":
                    return f"{node.name} is not linked to {leader.name}"
        return ""

    def _node(self, name: str) -> Node:
        return next(node for node in self._site.data if node.name == name)

    def _provider(self, purpose: str) -> Node:
        provider = self._site.provider
        if provider.state is not State.RUNNING:
            verb = "thaw" if provider.state is State.FROZEN else "start"
            directory = provider.directory.parent
            raise LabError(
                f"{provider.name}, who is to {purpose}, is {provider.state}",
                remedy=f"bring it back with: {command(f'{verb} {provider.name}', directory)}",
            )
        return provider

    def _launch(self, server: Server, nodes: Iterable[Node]) -> None:
        nodes, record = tuple(nodes), self.record
        if self._site.provider in nodes:
            self._site.provider.launch(server)
        data = [node for node in nodes if node.kind is Kind.REDIS]
        # The primary takes connections first: a replica that is refused tries again after a second.
        for node in sorted(data, key=lambda each: each.name in record.followers):
            leader = self._node(record.primary) if node.name in record.followers else None
            launch_redis(self._site, node, server, primary=leader, service=self._config(node))
            settle_answers(self._site, [node])

    def _config(self, node: Node) -> ServiceConfig:
        premises = self._premises
        return ServiceConfig(
            inner_host=node.inner_host,
            ca=premises.ca,
            certificate=premises.certificate,
            key=premises.key,
            idle_seconds=premises.service.idle_seconds,
            app=APP,
            digests=sorted(in_force(accepted(premises), SYSTEM_CLOCK.wall())),
            secret_names=premises.secret_names,
        )

    def _await_failover(self, leader: Node) -> None:
        """Let the provider replace a dead primary first, where it can."""
        site = self._site
        heirs = [n for n in site.data if n != leader and n.state is State.RUNNING]
        if heirs and site.provider.state is State.RUNNING:
            wait_until(
                lambda: "the same" if self.record.primary == leader.name else "",
                seconds=self.down_after + _FAILOVER_SECONDS,
            )

    def _refusing(self, digest: str) -> str:
        """Which living node does not take a password, empty where all do."""
        for node in self._site.data:
            if node.state is State.RUNNING and digest not in admin.passwords(
                node, self._site.access(node), APP
            ):
                return f"{node.name} does not take a new password"
        return ""


def _make_certificates(premises: Premises) -> None:
    try:
        from .certificates import (  # noqa: PLC0415 - what it needs is an extra
            make_certificates,
        )
    except ModuleNotFoundError as error:
        raise LabError(
            "a managed lab speaks TLS alone, and its certificates take the package cryptography",
            remedy=installing("crypto"),
        ) from error
    make_certificates(premises)
