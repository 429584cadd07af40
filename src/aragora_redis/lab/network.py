"""The addresses of a lab: each node has one of its own on loopback, so that it can be cut off.

Linux answers on all of 127.0.0.0/8 unasked. Elsewhere, as on macOS, all nodes share 127.0.0.1, and
nothing can be cut.
"""

from __future__ import annotations

import random
import socket

from .config import HOST
from .node import Kind

_FIRST_HOST = {Kind.REDIS: 10, Kind.SENTINEL: 20, Kind.PROVIDER: 30}
_FIRST_INNER = 40
_CLIENTS = 128
"""The first of the numbers left to clients that want addresses of their own."""


def choose() -> str:
    """The first three numbers of a new lab's addresses; where there is no choice, of 127.0.0.1.

    They are drawn at random, so that the cuts of one lab do not concern another.
    """
    network = f"127.{random.randrange(64, 128)}.{random.randrange(256)}"
    with socket.socket() as probe:
        try:
            probe.bind((f"{network}.1", 0))
        except OSError:
            return HOST.rpartition(".")[0]
    return network


def has_addresses(network: str) -> bool:
    """Whether the nodes of this network have addresses of their own."""
    return not HOST.startswith(f"{network}.")


def host_of(network: str, kind: Kind, ordinal: int) -> str:
    """The address of one node."""
    return f"{network}.{_FIRST_HOST[kind] + ordinal}" if has_addresses(network) else HOST


def inner_host(network: str, ordinal: int) -> str:
    """Another address of a data node, for the lab alone: no side of a cut has it."""
    return f"{network}.{_FIRST_INNER + ordinal}"


def client_host(network: str, number: int) -> str:
    """An address for the `number`-th client that binds one, from 0 to 126."""
    return f"{network}.{_CLIENTS + number}"


def clients(network: str) -> tuple[str, ...]:
    """All addresses that clients may connect from."""
    return (HOST, *(f"{network}.{number}" for number in range(_CLIENTS, 255)))
