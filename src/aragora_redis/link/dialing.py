"""A redis-py connection to an address that was looked up for a name, inside our TLS context."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Connection


class Dialed(Connection):
    """Connects to `address`, and checks that the certificate is for `host`, its name.

    Args:
        address: where to connect, see `Names`.
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
            arguments |= {"ssl": self._context, "server_hostname": self.host.rstrip(".")}
        return arguments
