"""A redis-py connection to an address that was looked up for a name, inside our TLS context."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Connection

from ..address import Address
from ..errors import LinkDownError
from ..settings.hosts import Hosts


class Dialed(Connection):
    """Connects to `address`, and checks that the certificate is for `host`, its name.

    Args:
        address: where to connect; the system looks it up where it is a name.
        context: encrypts and verifies; None is plain TCP.
        options: those of redis-py's connection, with `host` the name.
    """

    def __init__(self, *, address: str, context: ssl.SSLContext | None, **options: Any) -> None:
        super().__init__(**options)
        self._address = address
        self._context = context

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = {**super()._connection_arguments(), "host": self._address}
        if self._context is not None:
            arguments |= {"ssl": self._context, "server_hostname": self.host}
        return arguments


def dial_address(target: Address, hosts: Hosts | None) -> str:
    """Where to connect for a name: what the file says first, else the name itself.

    Raises:
        SettingsError: the file cannot be used.
    """
    known = hosts.addresses(target.host) if hosts is not None else ()
    return known[0] if known else target.host


async def addresses_of(target: Address, hosts: Hosts | None) -> tuple[str, ...]:
    """All addresses of a name, in the order of the answer.

    Raises:
        SettingsError: the file cannot be used.
        LinkDownError: nobody knows the name.
    """
    loop, name = asyncio.get_running_loop(), dial_address(target, hosts)
    try:
        found = await loop.getaddrinfo(name, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no name"
        raise LinkDownError(
            f"{target.host} cannot be resolved: {why}", remedy="check the name, and DNS"
        ) from None
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))
