"""A TCP proxy in front of one server that delays, throttles, halves, resets, swallows and lies.

What the kernel cannot be asked for everywhere (`tc netem` is often missing) is done here, for one
server and for whoever connects through the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

import hiredis

from ..address import Address
from .config import HOST

CHUNK = 16 * 1024
"""Bytes that pass at once, so that a connection holds no more than that here."""
_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Faults:
    """What is done to connections; nothing by default.

    Bytes of replies are counted for each connection since the faults were set.

    Attributes:
        delay: seconds that everything takes longer, each way.
        bytes_per_second: how fast replies pass.
        half_after: bytes of replies after which a connection is closed.
        reset_after: bytes of replies after which a connection is reset.
        silent_after: bytes of replies after which nothing comes back any more; what is sent still
            arrives.
        refuse: new connections are closed at once.
        answer: what each command is told instead of reaching the server, as RESP.
    """

    delay: float = 0.0
    bytes_per_second: float | None = None
    half_after: int | None = None
    reset_after: int | None = None
    silent_after: int | None = None
    refuse: bool = False
    answer: bytes | None = None


NONE = Faults()


class FaultProxy:
    """Listens on loopback and leads to `target`; use it as an async context manager.

    Args:
        target: the server.
        faults: what is done at first.
        port: where to listen; any free one by default.
    """

    def __init__(self, target: Address, faults: Faults = NONE, *, port: int = 0) -> None:
        self._target = target
        self._faults = faults
        self._port = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._passages: set[_Passage] = set()

    @property
    def faults(self) -> Faults:
        """What is done now. Setting it concerns the connections that are open, too."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        for passage in self._passages:
            passage.suffer(faults)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(HOST, self._port)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self._port, limit=CHUNK)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - what start_server calls runs in one
        self._serving.add(task)
        try:
            if not self._faults.refuse:
                await self._join(reader, writer)
        except (OSError, hiredis.ProtocolError, TypeError, asyncio.CancelledError):
            # The server is not there, what comes is no command, or the proxy ends; a cancelled task
            # would be complained of by asyncio's streams (Python 3.11).
            return
        finally:
            self._serving.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_server = await asyncio.open_connection(*self._target, limit=CHUNK)
        passage = _Passage(writer, from_server, self._faults)
        self._passages.add(passage)
        try:
            await asyncio.gather(
                passage.pump(reader, passage.request), passage.pump(to_server, passage.reply)
            )
        finally:
            self._passages.discard(passage)
            passage.close()


class _Passage:
    """One connection through the proxy."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, faults: Faults
    ) -> None:
        self._client = client
        self._server = server
        self._commands = hiredis.Reader(notEnoughData=Ellipsis)
        self.suffer(faults)

    def suffer(self, faults: Faults) -> None:
        """Begin these faults, and to count."""
        self._faults = faults
        self._replied = 0

    async def pump(
        self, reader: asyncio.StreamReader, passed: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Pass on what comes one way; its end is the end of both."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await passed(data)
        self.close()

    async def request(self, data: bytes) -> None:
        """What the client sent."""
        await asyncio.sleep(self._faults.delay)
        if self._faults.answer is None:
            await _send(self._server, data)
            return
        self._commands.feed(data)
        while self._commands.gets() is not Ellipsis:
            await _send(self._client, self._faults.answer)

    async def reply(self, data: bytes) -> None:
        """What the server sent."""
        faults = self._faults
        await asyncio.sleep(faults.delay)
        if faults.bytes_per_second is not None:
            await asyncio.sleep(len(data) / faults.bytes_per_second)
        silent, half, reset = map(
            self._left, (faults.silent_after, faults.half_after, faults.reset_after)
        )
        limits = [left for left in (silent, half, reset) if left is not None]
        self._replied += len(data)
        await _send(self._client, data[: min(limits, default=len(data))])
        if reset is not None and reset <= len(data):
            _reset(self._client)
            self.close()
        elif half is not None and half <= len(data):
            self.close()

    def _left(self, after: int | None) -> int | None:
        return None if after is None else max(after - self._replied, 0)

    def close(self) -> None:
        """End both connections."""
        self._client.close()
        self._server.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    writer.transport.abort()
