"""Stands between a client and a Redis, and may answer in its place."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis
from tests.fuzz.resp import Frames

from aragora_redis.address import Address

Tamper = Callable[[list[bytes], bytes], bytes]
"""What a client gets for a command, given what the server answered."""
_SETS_UP = frozenset({b"HELLO", b"CLIENT", b"AUTH", b"SELECT"})


class Between:
    """Listens on loopback; everything but what sets up a connection may be tampered with."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self.tamper: Tamper | None = None
        self.address = server

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Between]:
        tasks: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            listening.close()
            for task in tuple(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(*self._server)
        asked: deque[list[bytes]] = deque()
        ways = (self._up(client, to_server, asked), self._down(server, out, asked))
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (out, to_server):
                writer.transport.abort()
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, OSError):
                raise end

    async def _up(
        self,
        client: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        asked: deque[list[bytes]],
    ) -> None:
        commands = hiredis.Reader(notEnoughData=Ellipsis)
        while data := await client.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not Ellipsis:
                if command[0] != b"SUBSCRIBE":  # pushes answer that
                    asked.append(command)
            server.write(data)
            await server.drain()

    async def _down(
        self,
        server: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        asked: deque[list[bytes]],
    ) -> None:
        replies = Frames()
        while data := await server.read(65536):
            for reply in replies.feed(data):
                client.write(reply if reply[:1] == b">" else self._answer(asked.popleft(), reply))
            await client.drain()

    def _answer(self, command: list[bytes], reply: bytes) -> bytes:
        if self.tamper is None or command[0].upper() in _SETS_UP:
            return reply
        return self.tamper(command, reply)


class Posing:
    """A server that says what it is told to say, once a connection is set up."""

    def __init__(self) -> None:
        self.answer: Callable[[list[bytes]], bytes]
        self.address = Address("127.0.0.1", 0)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Posing]:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
        self._open: set[asyncio.StreamWriter] = set()
        try:
            yield self
        finally:
            listening.close()
            self.hang_up()

    def hang_up(self) -> None:
        """End all connections."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        self._open.add(out)
        commands = hiredis.Reader(notEnoughData=Ellipsis)
        try:
            while data := await client.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not Ellipsis:
                    out.write(self._told(command))
                await out.drain()
        except OSError:
            return
        finally:
            self._open.discard(out)
            out.close()

    def _told(self, command: list[bytes]) -> bytes:
        match command[0].upper():
            case b"HELLO":
                return b"%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n"
            case b"CLIENT" | b"AUTH" | b"SELECT":
                return b"+OK\r\n"
            case b"PING":
                return b"+PONG\r\n"
            case b"SUBSCRIBE":
                return b"".join(
                    b">3\r\n+subscribe\r\n$%d\r\n%b\r\n:%d\r\n" % (len(name), name, number)
                    for number, name in enumerate(command[1:], 1)
                )
            case _:
                return self.answer(command)
