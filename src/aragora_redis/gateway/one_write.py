"""Answers that leave as one write; the server makes two, of an answer's head and of its body.

A write is a system call that wakes whoever waits for it: it takes as long as all that is done here
to find the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """The server's own way to speak HTTP, on a transport that joins writes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve a connection."""
        joining = JoiningTransport(cast(asyncio.Transport, transport), self.loop)
        self._joining = joining
        super().connection_made(joining)

    def eof_received(self) -> None:
        """The client sends no more: what is held leaves before the connection is closed."""
        self._joining.let_go()
        super().eof_received()


class JoiningTransport(asyncio.Transport):
    """Holds a write until the next one, with which it leaves, or until the loop's next turn.

    Never more than one is held, so that who writes on and on is told to pause as ever.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._write = transport.write
        self._call_soon = loop.call_soon
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write this with what is held, or hold it."""
        if held := self._held:
            self._held = b""
            if not self._transport.is_closing():  # uvloop makes an error of it
                self._write(held + data)
        elif data:
            self._held = bytes(data)
            self._call_soon(self.let_go)

    def let_go(self) -> None:
        """Write what is held."""
        if (held := self._held) and not self._transport.is_closing():
            self._write(held)
        self._held = b""

    def close(self) -> None:
        """Close, after what is held."""
        self.let_go()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)
