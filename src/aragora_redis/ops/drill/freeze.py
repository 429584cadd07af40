"""Have a server that is only reached by wire stand still, for as long as somebody holds it.

A server that has all commands paused takes no CLIENT UNPAUSE either: such a pause can only end by
itself. So it is paused in short pieces. While one lasts the next one waits on the same connection,
first in line, and no command of anybody else runs in between; once that connection is closed the
server forgets what waits there.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from ...address import Address
from ..access import Access, connected

PIECE = 1.0
"""Seconds of one pause, and so the most that a server stands still for after the end."""
AHEAD = 2
"""Pauses that wait at the server: one in line, and one to take its place at once."""


class Freeze:
    """All commands of one server held.

    Args:
        at: the server.
        access: how to log in to it.
    """

    def __init__(self, at: Address, access: Access) -> None:
        self._at = at
        self._access = access
        self._held = AsyncExitStack()
        self._renewing: asyncio.Task[None] | None = None
        self._over = False

    async def begin(self) -> None:
        """Hold them.

        Raises:
            RedisError, OSError: it cannot be reached, or does not let us.
        """
        client = await self._held.enter_async_context(connected(self._at, self._access))
        pool: Any = client.connection_pool
        connection: AbstractConnection = await pool.get_connection()
        for _ in range(AHEAD):
            await self._pause(connection)
        await connection.read_response()
        self._renewing = asyncio.create_task(self._renew(connection))

    async def end(self) -> None:
        """Hold them no longer: it goes on within `PIECE` seconds."""
        self._over = True  # a cancellation may be lost inside a client (Python 3.11)
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        await self._held.aclose()

    async def _renew(self, connection: AbstractConnection) -> None:
        # Without its connection it goes on, which is what an end of this comes to anyway.
        with contextlib.suppress(RedisError, OSError):
            while not self._over:
                await self._pause(connection)
                await connection.read_response()

    async def _pause(self, connection: AbstractConnection) -> None:
        await connection.send_command("CLIENT", "PAUSE", int(PIECE * 1000), "ALL")
