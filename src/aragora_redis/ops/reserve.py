"""Hold ports until those whom they are meant for are started."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from ..address import Address
from ..errors import LabError


def reserve(addresses: Iterable[Address]) -> ExitStack:
    """Listen on all of them; closing the stack lets them go.

    Raises:
        LabError: one of them cannot be had.
    """
    stack = ExitStack()
    try:
        for address in addresses:
            for listener in _listeners(address):
                stack.enter_context(listener)
    except BaseException:
        stack.close()
        raise
    return stack


def _listeners(address: Address) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (socket.gaierror, UnicodeError) as error:
        raise LabError(
            f"{address.host!r} is not a name or an address that can be listened on",
            remedy="choose another with --host",
        ) from error
    for family, *_, endpoint in found:
        try:
            yield _listen(family, endpoint)
        except OSError as error:
            raise _refusal(address, error) from error


def _listen(family: int, endpoint: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family)
    try:
        # As the gateway does: connections that linger from the last run are no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(endpoint)
        _demand_silence(family, endpoint)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _demand_silence(family: int, endpoint: tuple[object, ...]) -> None:
    # Binding alone is not proof: macOS lets 127.0.0.1 be bound beside a listener on 0.0.0.0.
    with socket.socket(family) as client:
        client.settimeout(0.2)
        if client.connect_ex(endpoint) == 0:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _refusal(address: Address, error: OSError) -> LabError:
    if error.errno == errno.EADDRINUSE:
        return LabError(
            f"port {address.port} is taken by another program",
            remedy="end that, or choose another with --port (make: PORT=)",
        )
    return LabError(
        f"{address} cannot be listened on: {error.strerror}",
        remedy="choose another with --host or --port",
    )
