"""Answer short questions over HTTP with plain text, for what asks whether a program is well."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from ..errors import SettingsError

_ASK_LIMIT = 2.0
_MOST_BYTES = 8192


class Answer(NamedTuple):
    """An HTTP status and a text."""

    status: int
    text: str


@asynccontextmanager
async def answering(
    host: str | None, port: int, answer: Callable[[str], Answer], *, who: str, option: str
) -> AsyncIterator[int]:
    """Answer there; gives the port.

    Args:
        host: where to listen; None for all addresses of this machine.
        port: which one; 0 for any that is free.
        answer: what to say to a path.
        who: what cannot listen there, for the error.
        option: the one that says where.

    Raises:
        SettingsError: the port cannot be had.
    """

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ASK_LIMIT):
                head = await reader.readuntil(b"\r\n\r\n")
                status, text = answer(head.split(b" ", 2)[1].decode("ascii"))
                body = f"{text}\n"
                writer.write(
                    f"HTTP/1.1 {status} -\r\nContent-Type: text/plain\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
                )
                await writer.drain()
        except (TimeoutError, OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError):
            return  # whoever asks otherwise gets no answer
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(respond, host, port, limit=_MOST_BYTES)
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror
        raise SettingsError(
            f"{who} cannot listen on port {port}: {why}", remedy=f"choose another with {option}"
        ) from None
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
