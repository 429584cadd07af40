"""Choose ports on 127.0.0.1."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import LabError
from .config import HOST

# Both ranges, and data ports + 10000 (the bus of a Redis Cluster), lie below what Linux and macOS
# give to outgoing connections, so that no client's own port is in the way later.
_FREE_DATA = range(11_000, 21_000)
_FREE_SENTINEL = range(22_000, 32_000)
_BUS = 10_000
_TRIES = 200


class Ports(NamedTuple):
    """The ports of one topology, in order of the nodes' ordinals."""

    data: tuple[int, ...]
    sentinels: tuple[int, ...]


def guide_ports(data: int, sentinels: int) -> Ports:
    """6379, 6380, ... and 26379, 26380, ..."""
    return Ports(tuple(range(6379, 6379 + data)), tuple(range(26379, 26379 + sentinels)))


def bus_port(port: int) -> int:
    """Where a node of a cluster is reached by the other nodes."""
    return port + _BUS


def free_ports(data: int, sentinels: int, *, bus: bool = False) -> Ports:
    """Ports that nobody listens on now, away from the guide's and from outgoing connections.

    Args:
        data: how many for Redis.
        sentinels: how many for Sentinels.
        bus: whether the data nodes need their bus ports free as well.

    Raises:
        LabError: none were found.
    """
    return Ports(_free_run(_FREE_DATA, data, bus=bus), _free_run(_FREE_SENTINEL, sentinels))


def all_free(ports: Iterable[int], host: str = HOST) -> bool:
    """Whether a server could listen on every one of them now."""
    return all(_is_free(port, host) for port in ports)


def _free_run(within: range, count: int, *, bus: bool = False) -> tuple[int, ...]:
    for _ in range(_TRIES):
        first = random.randrange(within.start, within.stop - count)
        run = tuple(range(first, first + count))
        if all_free(run) and (not bus or all_free(map(bus_port, run))):
            return run
    raise LabError(
        f"no {count} free ports in a row between {within.start} and {within.stop}",
        remedy="stop some of the servers on this machine",
    )


def _is_free(port: int, host: str) -> bool:
    with socket.socket() as client:
        client.settimeout(0.2)
        # Binding alone is not proof: macOS lets 127.0.0.1 be bound beside a listener on 0.0.0.0.
        if client.connect_ex((host, port)) == 0:
            return False
    with socket.socket() as server:
        # As the server does: connections that still linger from the last run are no obstacle.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            return False
    return True
