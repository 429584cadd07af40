"""lab.json: which servers belong to a lab."""

from __future__ import annotations

import secrets
from enum import StrEnum
from pathlib import Path

import msgspec

from ..address import Address
from ..errors import LabError
from . import network
from .config import HOST
from .files import write_private
from .node import Kind, Node
from .ports import Ports, all_free, bus_port, free_ports, guide_ports
from .service import Service

_NAME = "lab.json"


class Mode(StrEnum):
    """Which topology a lab runs."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"
    MANAGED = "managed"


class PortChoice(StrEnum):
    """Where a lab listens."""

    GUIDE = "guide"
    """6379 and on, 26379 and on; if any of them is taken, like FREE."""
    FREE = "free"
    """Ports that nobody uses, never the guide's."""


_COUNTS = {
    Mode.STANDALONE: (1, 0),
    Mode.SENTINEL: (3, 3),
    Mode.CLUSTER: (6, 0),
    Mode.MANAGED: (1, 0),  # both nodes have the same port
}


class Manifest(msgspec.Struct, frozen=True):
    """What a lab's directory says of it."""

    mode: Mode
    port_choice: PortChoice
    down_after_ms: int
    data_ports: tuple[int, ...]
    sentinel_ports: tuple[int, ...]
    network: str
    """The first three numbers of its nodes' addresses; see `network`."""
    run: str = ""
    """Names one start of the lab, so that the end of an older one does not stop a newer."""
    service: Service | None = None
    """What a managed service is like from outside."""

    def nodes(self, directory: Path) -> tuple[Node, ...]:
        """The data nodes, then those who decide about them."""
        managed = self.mode is Mode.MANAGED
        data = self.data_ports * 2 if managed else self.data_ports
        kinds = {
            Kind.REDIS: data,
            Kind.SENTINEL: self.sentinel_ports,
            Kind.PROVIDER: (0,) if managed else (),
        }
        return tuple(
            Node(
                f"{kind}-{ordinal}",
                kind,
                Address(network.host_of(self.network, kind, ordinal), port),
                directory / f"{kind}-{ordinal}",
                bus_port(port) if self.mode is Mode.CLUSTER else None,
                network.inner_host(self.network, ordinal) if managed else HOST,
            )
            for kind, ports in kinds.items()
            for ordinal, port in enumerate(ports)
        )

    def with_new_ports(self) -> Manifest:
        """The same lab on ports that are free now."""
        ports = choose_ports(self.mode, self.port_choice)
        return msgspec.structs.replace(self, data_ports=ports.data, sentinel_ports=ports.sentinels)

    def with_new_run(self) -> Manifest:
        """The same lab, started once more."""
        return msgspec.structs.replace(self, run=secrets.token_hex(8))


def choose_ports(mode: Mode, choice: PortChoice) -> Ports:
    """Ports for each node of a mode.

    Raises:
        LabError: none are free.
    """
    guide, bus = guide_ports(*_COUNTS[mode]), mode is Mode.CLUSTER
    wanted = guide.data + guide.sentinels + (tuple(map(bus_port, guide.data)) if bus else ())
    if choice is PortChoice.GUIDE and all_free(wanted):
        return guide
    return free_ports(*_COUNTS[mode], bus=bus)


def load(directory: Path) -> Manifest | None:
    """What the directory holds, or None where it holds no lab.

    Raises:
        LabError: the file cannot be understood.
    """
    path = directory / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LabError(
            f"{path} cannot be read: {error}",
            remedy="end its servers by hand, then remove the directory",
        ) from error


def save(directory: Path, manifest: Manifest) -> None:
    """Replace the file at once."""
    write_private(directory / _NAME, msgspec.json.encode(manifest).decode() + "\n")
