"""Listen, and let programs in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence

from ..address import Address
from ..errors import SettingsError
from ..link.encryption import Encryption
from .inbound import Inbound
from .passage import Side

BACKLOG = 511
"""Connections that may wait to be accepted, as many as Redis takes by default."""
HANDSHAKE_LIMIT = 5.0
"""Seconds that a program has to agree on TLS."""
EXHAUSTED_PAUSE = 0.1
"""Seconds before it is tried again where the system has no more files or memory."""

_log = logging.getLogger(__name__)


def listen(at: Address) -> list[socket.socket]:
    """Listen on every address of the host; port 0 takes a free one.

    Raises:
        SettingsError: the port is taken, or the host is not this machine's.
    """
    with contextlib.ExitStack() as opened:
        try:
            infos = socket.getaddrinfo(
                at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            found = [
                opened.enter_context(socket.create_server(where, family=family, backlog=BACKLOG))
                for family, where in dict.fromkeys((info[0], info[4]) for info in infos)
            ]
        except (OSError, UnicodeError) as error:
            number = getattr(error, "errno", None) or 0
            why = os.strerror(number) if number > 0 else getattr(error, "strerror", None)
            raise SettingsError(
                f"the proxy cannot listen on {at}: {why or 'it is no host name'}",
                remedy="choose an address of this machine and a port that is free",
            ) from None
        for each in found:
            each.settimeout(0)
            # Accepted connections have it from here. With Nagle's algorithm the second piece of an
            # answer would wait 40 ms for the client to confirm the first.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.pop_all()
        return found


class Door:
    """Accepts connections on some sockets.

    Args:
        on_visit: gets each socket.
    """

    def __init__(
        self, listeners: Sequence[socket.socket], on_visit: Callable[[socket.socket], None]
    ) -> None:
        self._listeners = listeners
        self._on_visit = on_visit
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._accept(each)) for each in self._listeners]

    async def close(self) -> None:
        """Accept no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._listeners:
            each.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                visitor, _ = await loop.sock_accept(listener)
            except OSError as error:
                _log.warning("no connection can be accepted now: %s", error.strerror)
                await asyncio.sleep(EXHAUSTED_PAUSE)
                continue
            self._on_visit(visitor)


class Welcome:
    """Makes connections of accepted sockets, in TLS where that is asked for.

    Raises:
        SettingsError: the files of the certificate cannot be used.
    """

    def __init__(self, tls: Inbound | None) -> None:
        self._encryption = Encryption(tls) if tls is not None else None
        self._context = tls.context() if tls is not None else None

    async def receive(self, visitor: socket.socket, side: Side) -> None:
        """Connect `side`.

        Raises:
            OSError: they do not agree on TLS.
        """
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: side,
            visitor,
            ssl=await self._current(),
            ssl_handshake_timeout=HANDSHAKE_LIMIT if self._context is not None else None,
        )

    async def _current(self) -> ssl.SSLContext | None:
        """A renewed certificate holds from the next connection on; a broken one does not."""
        if self._encryption is not None:
            try:
                self._context = await self._encryption.context()
            except SettingsError as error:
                _log.warning("the certificate is not renewed: %s", error)
        return self._context
