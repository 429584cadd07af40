"""Copies bytes between a program and a server, no faster than the slower of the two takes them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Literal, Protocol, cast

from .figures import Figures

BUFFER = 64 * 1024
"""Bytes that may wait to be written before the other end is not read any more. What was read in one
piece then (asyncio reads up to 256 kB) comes to that, and no more."""
LINGER = 5.0
"""Seconds that a program is given to read what was answered, once its server is gone."""
REFUSED_LINGER = 0.5
"""Seconds that it is given to read why it is refused."""
_IDLE: int = getattr(socket, "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE")
"""macOS has another name for it."""
KEEP_ALIVE = ((_IDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""Ends connections to machines that are gone within a minute and a half."""

By = Literal["client", "server", "change", "drain"]


class Gate(Protocol):
    """Says when bytes may pass."""

    def passes(self) -> bool:
        """Whether they may now."""

    def hold(self, passage: Passage) -> None:
        """Call `passage.release` when they may."""


class Side(asyncio.Protocol):
    """One of its two connections."""

    other: Side

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._closing: asyncio.TimerHandle | None = None
        self._held: list[bytes] = []
        self.said_all = False
        """Whether nothing more comes from it."""
        self.choked = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there (asyncio.Protocol)."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=BUFFER)
        keep_alive(self.transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on, or hold it and read no more (asyncio.Protocol)."""
        passage = self._passage
        if passage.over:
            return
        if not self._held and passage.joined and passage.gate.passes():
            self._pass(data)
            return
        self._held.append(data)
        self.adjust()
        if passage.joined:
            passage.gate.hold(passage)

    def eof_received(self) -> bool:
        """Nothing more comes from here; what is on its way still does (asyncio.Protocol)."""
        if self is self._passage.server or self._passage.over or not _ends_halfway(self.transport):
            return False
        self.said_all = True
        if not self._held:
            self._pass_end()
        return True

    def release(self) -> None:
        """Pass on what was held."""
        held, self._held = self._held, []
        for data in held:
            self._pass(data)
        if self.said_all:
            self._pass_end()
        self.adjust()

    def adjust(self) -> None:
        """Read only while there is a place for what comes."""
        if self.transport is None or self.transport.is_closing():
            return
        wanted = self._passage.over or not (self._held or self.other.choked)
        if wanted and not self.transport.is_reading():
            self.transport.resume_reading()
        elif not wanted and self.transport.is_reading():
            self.transport.pause_reading()

    def _pass(self, data: bytes) -> None:
        self._passage.count(self, len(data))
        if self.other.transport is not None:
            self.other.transport.write(data)

    def _pass_end(self) -> None:
        to = self.other.transport
        if to is None or to.is_closing():
            return
        if _ends_halfway(to):
            with contextlib.suppress(OSError):  # it has gone
                to.write_eof()
        else:
            asyncio.get_running_loop().call_later(LINGER, self._passage.end, "client")

    def pause_writing(self) -> None:
        """It takes no more now (asyncio.Protocol)."""
        self.choked = True
        self.other.adjust()

    def resume_writing(self) -> None:
        """It takes more again (asyncio.Protocol)."""
        self.choked = False
        self.other.adjust()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended (asyncio.Protocol)."""
        del exc
        self.transport = None
        if self._closing is not None:
            self._closing.cancel()
        self._passage.lost(self)

    def close(self, within: float) -> None:
        """End it when all is written, and anyhow in so many seconds."""
        if (transport := self.transport) is not None:
            transport.close()
            self._closing = asyncio.get_running_loop().call_later(within, transport.abort)


class Passage:
    """One program's way to one server.

    Args:
        figures: counts what passes.
    """

    gate: Gate

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.client, self.server = Side(self), Side(self)
        self._introduce()
        self.joined = False
        self.over = False
        self.ended = asyncio.Event()
        """Set when both connections are."""
        self.moves = 0
        """Counts what has passed."""
        self.asks = False
        """Whether what passed last was from the program: an answer is due."""

    def another_server(self) -> Side:
        """What to connect to a server, in place of what came to nothing."""
        if self.server.transport is not None:
            self.server.transport.abort()
        self.server = Side(self)
        self._introduce()
        return self.server

    def _introduce(self) -> None:
        self.client.other, self.server.other = self.server, self.client

    def join(self, gate: Gate) -> None:
        """Both are there: pass on what was sent meanwhile."""
        self.gate = gate
        self.joined = True
        self.release() if gate.passes() else gate.hold(self)
        if self.client.transport is None:  # it left while the server was connected to
            self.end("client")

    def release(self) -> None:
        """Pass on what was held."""
        if self.over:
            return
        self.client.release()
        self.server.release()
        if self.server.transport is None:  # it had only a word to say, such as of too many clients
            self.end("server")

    def count(self, side: Side, size: int) -> None:
        """Bytes pass that came from here."""
        self.moves += 1
        self.asks = side is self.client
        if self.asks:
            self._figures.received += size
        else:
            self._figures.sent += size

    def refuse(self, line: bytes) -> None:
        """Tell the program why, and end."""
        client = self.client.transport
        self.over = True
        if self.server.transport is not None:
            self.server.transport.abort()
        if client is None or client.is_closing():
            return
        client.write(line)
        # Closed at once, with its command unread, the program might be reset before it reads.
        self.client.adjust()
        if _ends_halfway(client):
            with contextlib.suppress(OSError):  # it has gone
                client.write_eof()
        asyncio.get_running_loop().call_later(REFUSED_LINGER, self.client.close, 0.0)

    def end(self, by: By) -> None:
        """End both; the server gets no more, unless it was the program that left."""
        if self.over:
            return
        self.over = True
        self._figures.ended[by] += 1
        if self.server.transport is not None:
            if by == "client":
                self.server.close(LINGER)
            else:
                self.server.transport.abort()
        self.client.close(LINGER)

    def lost(self, side: Side) -> None:
        """One of them has ended."""
        if side not in {self.client, self.server}:
            return
        if self.joined:
            self.end("client" if side is self.client or self.client.said_all else "server")
        if self.client.transport is None and self.server.transport is None:
            self.over = True
            self.ended.set()


def _ends_halfway(transport: asyncio.Transport | None) -> bool:
    """TLS has no end of one direction."""
    return transport is not None and transport.can_write_eof()


def keep_alive(transport: asyncio.Transport) -> None:
    """Have the system notice when the other machine is gone."""
    connection: socket.socket = transport.get_extra_info("socket")
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
