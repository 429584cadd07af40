"""A lab: one directory, one topology of real servers, and what can be done to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from ..errors import LabError
from . import cuts, manifest, network
from .cluster import ClusterTopology
from .credentials import Credentials, has_credentials, load_credentials
from .cuts import Cut, table_of
from .guard import Guard
from .hint import command
from .managed import ManagedTopology
from .manifest import Manifest, Mode, PortChoice
from .node import Kind, Node, end_all
from .ports import all_free
from .prepare import choice, prepare
from .process import State
from .reshard import move_slots
from .sentinel import SentinelTopology
from .server import find_server
from .standalone import StandaloneTopology
from .status import LabStatus, node_status
from .targets import cut_between, resolve
from .topology import Site, Topology
from .troubles import Trouble, make, mend
from .waiting import wait_until

_TOPOLOGIES: dict[Mode, type[Topology]] = {
    Mode.STANDALONE: StandaloneTopology,
    Mode.SENTINEL: SentinelTopology,
    Mode.CLUSTER: ClusterTopology,
    Mode.MANAGED: ManagedTopology,
}

_PORT_SECONDS = 1.0


class Lab:
    """Redis servers of one's own, on 127.0.0.1.

    Targets are the names of nodes, `primary`, `replica-N` (the N-th of the other data nodes by
    ordinal from 0, dead ones counted) and `all`. Every method raises `LabError` where it cannot do
    what it says.
    """

    def __init__(self, directory: Path, state: Manifest) -> None:
        """Use `create`, `open` or `find`."""
        self.directory = directory
        self._manifest = state
        self._guard: Guard | None = None

    @classmethod
    def create(
        cls,
        directory: Path | str,
        mode: Mode | str = Mode.SENTINEL,
        ports: PortChoice | str = PortChoice.GUIDE,
        down_after_ms: int = 1000,
        *,
        forbidden: Iterable[str] | None = None,
        name_delay: float | None = None,
        idle_seconds: int | None = None,
    ) -> Self:
        """Prepare a lab, or take up the stopped one in the directory with its data and secrets.

        Args:
            directory: made where it is missing.
            mode: `sentinel`, `cluster`, `managed` or `standalone`.
            ports: `guide` or `free`.
            down_after_ms: silence after which the Sentinels, the nodes of a cluster or the provider
                of a managed service call a server down, in milliseconds.
            forbidden: commands that a managed service does not know; by default those of the lab,
                for a new one `service.FORBIDDEN`.
            name_delay: seconds for which the name of a managed service still leads to the old
                primary; by default that of the lab, for a new one 0.5.
            idle_seconds: after which a managed service closes idle connections, 0 for never; by
                default those of the lab, for a new one 10.
        """
        path = Path(directory).absolute()
        state = prepare(
            path,
            choice(Mode, mode),
            choice(PortChoice, ports),
            down_after_ms,
            forbidden=forbidden,
            name_delay=name_delay,
            idle_seconds=idle_seconds,
        )
        return cls(path, state)

    @classmethod
    def open(cls, directory: Path | str) -> Self:
        """The lab of a directory."""
        lab = cls.find(directory)
        if lab is None:
            path = Path(directory).absolute()
            if has_credentials(path):
                raise LabError(
                    f"{path} is of an `up` in embedded mode, which has no servers to look at",
                    remedy="ask its gateway: /dashboard, /v1/status",
                )
            raise LabError(
                f"there is no lab in {path}",
                remedy=f"start one with: {command('start', path)}",
            )
        return lab

    @classmethod
    def find(cls, directory: Path | str) -> Self | None:
        """The lab of a directory, or None where there is none."""
        path = Path(directory).absolute()
        found = manifest.load(path)
        return None if found is None else cls(path, found)

    def start(self, *, foreground: bool = False) -> None:
        """Start all servers and wait until they are usable.

        Ports of an earlier run are used again while they are free, and so is the data: whoever was
        primary last is primary again.

        Args:
            foreground: the servers end with this process, however it ends.
        """
        alive = [node.name for node in self._nodes if node.pid is not None]
        if alive:
            raise LabError(
                f"the lab in {self.directory} is already running ({', '.join(alive)})",
                remedy="bring single nodes back with: "
                f"{command('start --all', self.directory)}; "
                f"or stop it first with: {command('stop', self.directory)}",
            )
        server = find_server()
        leader = self.primary()
        moved = bool(_taken(self._nodes))
        if moved:
            self._manifest = self._manifest.with_new_ports()
        self._manifest = self._manifest.with_new_run()
        manifest.save(self.directory, self._manifest)
        for node in self._nodes:
            node.directory.mkdir(mode=0o700, exist_ok=True)
        if foreground:
            self._guard = Guard.start(self.directory, self._manifest.run)
        try:
            self._topology.bring_up(server, leader, moved=moved)
            if self._guard is not None:
                self._guard.check()
        except BaseException:
            self.stop()
            raise

    def stop(self, target: str = "all") -> tuple[str, ...]:
        """End servers: SIGTERM, then SIGKILL for those that stay. Dead ones are no error.

        Returns:
            The names of those that were alive.
        """
        ended = end_all(self._resolve(target))
        if target == "all":
            if self._guard is not None:
                self._guard.close()
                self._guard = None
            cuts.heal(self.directory, self._table)
        return ended

    def kill(self, target: str) -> tuple[str, ...]:
        """End servers at once by SIGKILL; returns their names."""
        return self._each_alive(target, Node.kill)

    def freeze(self, target: str) -> tuple[str, ...]:
        """Hold servers by SIGSTOP: they keep their connections and answer nothing."""
        return self._each_alive(target, Node.freeze)

    def thaw(self, target: str) -> tuple[str, ...]:
        """Let frozen servers go on by SIGCONT; returns their names.

        Raises:
            LabError: the one that is meant is not frozen.
        """
        meant = self._resolve(target)
        frozen = [node for node in self._nodes if node.state is State.FROZEN]
        chosen = [node for node in frozen if node in meant]
        if not chosen and target != "all":
            others = ", ".join(node.name for node in frozen)
            raise LabError(
                f"{meant[0].name} is {meant[0].state}, and not frozen",
                remedy=f"thaw what is: {others}" if others else "leave it: no node of the lab is",
            )
        for node in chosen:
            node.thaw()
        return tuple(node.name for node in chosen)

    def cut(self, one: str, other: str = "rest", *, one_way: bool = False) -> Cut:
        """Drop what passes between two sides, until `heal`; needs root.

        Each side is a list, parted by commas, of targets, `clients` (whoever is no node of this
        lab) and addresses of single clients; `rest` is everybody who is not on the other side. The
        lab itself still reaches every node, at 127.0.0.1.

        Args:
            one: one side.
            other: the other side.
            one_way: drop only what `one` sends to `other`.

        """
        if not network.has_addresses(self._manifest.network):
            raise LabError(
                "the nodes of this lab share one address, so they cannot be told apart",
                remedy="cut nodes off on Linux",
            )
        made = cut_between(
            one,
            other,
            one_way=one_way,
            addresses=self._manifest.network,
            hosts={node.name: node.address.host for node in self._nodes},
            names_of=lambda target: [node.name for node in self._resolve(target)],
        )
        cuts.add_cut(self.directory, self._table, made)
        return made

    def trouble(self, trouble: Trouble | str, target: str = "primary") -> str:
        """Bring a trouble upon one living node, until `heal`; returns its name."""
        node = self.node(target)
        make(choice(Trouble, trouble), node, self._site, self._topology.primary())
        return node.name

    def heal(self) -> tuple[Cut, ...]:
        """Let everything pass again, and mend the troubles of living nodes.

        Returns:
            What was cut.
        """
        healed = cuts.heal(self.directory, self._table)
        primary = self._topology.primary()
        for node in self._nodes:
            if node.kind is not Kind.PROVIDER and node.state is State.RUNNING:
                mend(node, self._site, primary)
        return healed

    def restart(self, target: str = "all", *, wipe: bool = False) -> tuple[str, ...]:
        """Kill nodes, all at once, and bring them back; returns their names.

        For a rolling restart, restart one after the other.

        Args:
            target: which.
            wipe: without their data; nodes of a cluster keep their place in it.
        """
        killed = self.kill(target)
        self._revive(tuple(map(self.node, killed)), wipe=wipe)
        return killed

    def move_slots(self, slots: Iterable[int], to: str) -> int:
        """Move slots of a cluster, with their keys, while clients go on.

        Args:
            slots: which; those that are there already stay.
            to: the primary that is to own them.

        Returns:
            How many had to move.
        """
        return move_slots(self._site, slots, self.node(to))

    def switch(self) -> str:
        """Have the other node of a managed service promoted once it has all; returns its name.

        The old primary goes on as a replica, with the connections of its clients, and the name
        moves after its delay.
        """
        return self._managed("switch").switch().name

    def rotate(self, overlap: float = 5.0) -> None:
        """Give the clients of a managed service a new password, in the file that they read.

        Args:
            overlap: seconds for which the last one is still taken; those before it no more.
                Connections that are open stay.
        """
        self._managed("rotate").rotate(overlap)

    def client_host(self, number: int) -> str:
        """An address of its own for a client that binds one, so that it can be cut off."""
        return network.client_host(self._manifest.network, number)

    def start_node(self, target: str, *, wipe: bool = False) -> str:
        """Bring one dead node back, in the place that the living ones have for it.

        Args:
            target: which.
            wipe: without its data.

        Returns:
            Its name.
        """
        node = self.node(target)
        if node.pid is not None:
            raise LabError(
                f"{node.name} is {node.state}",
                remedy=f"let it go on with: {command(f'thaw {node.name}', self.directory)}"
                if node.state is State.FROZEN
                else "kill or stop it before you start it",
            )
        self._revive((node,), wipe=wipe)
        return node.name

    def start_all(self, *, wipe: bool = False) -> tuple[str, ...]:
        """Bring all dead nodes back; returns their names."""
        dead = tuple(node for node in self._nodes if node.pid is None)
        frozen = [node.name for node in self._nodes if node.state is State.FROZEN]
        if frozen and not dead:
            raise LabError(
                f"no node is dead, but {', '.join(frozen)} stand still",
                remedy=f"let them go on with: {command('thaw --all', self.directory)}",
            )
        self._revive(dead, wipe=wipe)
        return tuple(node.name for node in dead)

    def primary(self) -> str:
        """Name of the primary: as the Sentinels say now, or last said; in a cluster, slot 0's.

        In a managed lab, that of the node to which the name leads.
        """
        return self._topology.primary().name

    def node(self, target: str) -> Node:
        """The one node that a target means."""
        nodes = self._resolve(target)
        if len(nodes) != 1:
            raise LabError(f"{target!r} is more than one node", remedy="name one")
        return nodes[0]

    def password(self, node: Node) -> str:
        """The password of a node."""
        return self._site.access(node).password

    def status(self) -> LabStatus:
        """How every server is now."""
        return LabStatus(
            directory=self.directory,
            mode=self._manifest.mode,
            primary=self.primary(),
            nodes=tuple(node_status(node, self._site) for node in self._nodes),
            cuts=cuts.cuts_of(self.directory),
        )

    def env(self) -> dict[str, str]:
        """The settings that a client or a gateway needs. They hold secrets."""
        credentials = self.credentials
        return self._topology.environment() | {
            "ARAGORA_GATEWAY_TOKEN": credentials.gateway_token,
            "ARAGORA_ADMIN_TOKEN": credentials.admin_token,
            "ARAGORA_DIGEST_KEY": credentials.digest_key,
            "ARAGORA_JWT_SECRET": credentials.jwt_secret,
        }

    @property
    def forbidden(self) -> tuple[str, ...]:
        """The commands that a managed service does not know."""
        service = self._manifest.service
        return () if service is None else service.forbidden

    @property
    def service(self) -> ManagedTopology:
        """The service of a managed lab, as those who run it see it."""
        return self._managed("show a service")

    @property
    def credentials(self) -> Credentials:
        """The lab's secrets."""
        return load_credentials(self.directory)

    @property
    def _table(self) -> str:
        return table_of(self._manifest.network)

    @property
    def _nodes(self) -> tuple[Node, ...]:
        return self._manifest.nodes(self.directory)

    @property
    def _site(self) -> Site:
        return Site.of(self._manifest, self.directory)

    @property
    def _topology(self) -> Topology:
        return _TOPOLOGIES[self._manifest.mode](self._site)

    def _managed(self, act: str) -> ManagedTopology:
        topology = self._topology
        if not isinstance(topology, ManagedTopology):
            raise LabError(
                f"only a managed lab can {act}",
                remedy="start one with: aragora-redis lab start --mode managed",
            )
        return topology

    def _revive(self, nodes: tuple[Node, ...], *, wipe: bool) -> None:
        if not any(node.directory.is_dir() for node in self._nodes):
            raise LabError(
                "the lab was never started", remedy=f"start it: {command('start', self.directory)}"
            )
        if taken := _taken(nodes):
            raise LabError(
                f"another program has taken {taken}",
                remedy="end that, or stop the lab and start it anew on other ports",
            )
        self._topology.revive(find_server(), nodes, wipe=wipe)

    def _each_alive(self, target: str, act: Callable[[Node], None]) -> tuple[str, ...]:
        nodes = [node for node in self._resolve(target) if node.pid is not None]
        if not nodes:
            which = "--all" if target == "all" else target
            raise LabError(
                f"{target} is not running",
                remedy=f"start it with: {command(f'start {which}', self.directory)}",
            )
        for node in nodes:
            act(node)
        return tuple(node.name for node in nodes)

    def _resolve(self, target: str) -> tuple[Node, ...]:
        nodes = self._nodes
        if target == "all":
            return nodes
        names = [node.name for node in nodes]
        name = target if target in names else resolve(target, names, self.primary())
        return tuple(node for node in nodes if node.name == name)


def _taken(nodes: Sequence[Node]) -> str:
    """Which ports of dead nodes somebody listens on; empty for none.

    The system may close the port of a process a moment after its end.
    """
    return wait_until(
        lambda: ", ".join(
            f"port {port} of {node.name}"
            for node in nodes
            for port in node.ports
            if not all_free([port], node.inner_host)
        ),
        seconds=_PORT_SECONDS,
    )
