"""One connection with many requests in flight; replies come back in the order of the requests."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection

from ..errors import LinkDownError
from ..operation import Argument
from .replies import classify

_log = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
REPLY_LIMIT = 64 * 1024 * 1024
"""Bytes that a reply may have; the largest that is asked for has a few of its millions."""
PushHandler = Callable[[list[Any]], None]
ReplyHandler = Callable[[Any], None]
"""Gets the reply, a `hiredis.ReplyError`, or a `Lost`."""


def pack(command: tuple[Argument, ...]) -> bytes:
    """A command as RESP."""
    # hiredis' stub describes a tuple of one element.
    return cast("bytes", hiredis.pack_command(command))  # type: ignore[arg-type]


class Lost:
    """Stands for the reply that will never come, because the connection ended."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Pipe(asyncio.BufferedProtocol):
    """Takes over the transport of an authenticated connection.

    It brings the buffer to read into: asyncio's other protocols have 256 KiB allocated, and given
    back to the system, for each read.
    """

    def __init__(self, connection: AbstractConnection, on_push: PushHandler) -> None:
        # redis-py has no public way to its transport; taking it saves a task switch per reply.
        writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        self._connection = connection
        self._transport = writer.transport
        # Asked now: that of TLS cannot tell any more once it is closed.
        name = self._transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else None
        """The network address at the other end; None for a Unix socket."""
        # TLS cuts a piece off, and reads into the rest: that must not be a copy.
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._unfinished = 0
        """Bytes of the reply that is not whole yet, about."""
        self._expected: deque[ReplyHandler] = deque()
        self._on_push = on_push
        self._on_close: Callable[[str], None] | None = None
        self._on_read: Callable[[], None] = lambda: None
        self.closed: str | None = None
        """Why the connection ended, or None while it lives."""
        self.writable = True
        self._transport.set_protocol(self)

    def __repr__(self) -> str:
        return f"<Pipe to {self.peer}: {self.closed or 'open'}>"

    def on_close(self, handler: Callable[[str], None]) -> None:
        """Call `handler` with the reason when the connection ends, at once if it has."""
        if self.closed is not None:
            handler(self.closed)
        else:
            self._on_close = handler

    def on_read(self, handler: Callable[[], None]) -> None:
        """Call `handler` each time that all replies have been handled that had come."""
        self._on_read = handler

    def send(self, data: bytes, handlers: list[ReplyHandler]) -> None:
        """Write packed commands; `handlers` get their replies in order."""
        if self.closed is not None:
            for handler in handlers:
                handler(Lost(self.closed))
            return
        self._expected.extend(handlers)
        self._transport.write(data)

    async def subscribe(self, channels: Sequence[bytes], *, timeout: float) -> None:  # noqa: ASYNC109 - the one place where the limit is applied
        """Have what is published on these channels pushed.

        Raises:
            LinkDownError: no reply within `timeout` seconds, or the connection ended.
            RefusedError, UnexpectedReplyError: the server does not allow it.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        refused: list[hiredis.ReplyError] = []

        # Under RESP3 a subscription is answered by pushes, which are no replies, but a refusal by
        # an error, which is one: the answer to PING is then still to come.
        def settle(reply: Any) -> None:
            if isinstance(reply, hiredis.ReplyError) and not refused:
                refused.append(reply)
                self._expected.appendleft(settle)
            elif not answer.done():
                answer.set_result(refused[0] if refused else reply)

        self.send(pack(("SUBSCRIBE", *channels)) + pack(("PING",)), [settle])
        await _reply_of(answer, "SUBSCRIBE", timeout)

    async def request(self, *command: Argument, timeout: float) -> Any:  # noqa: ASYNC109 - the one place where the limit is applied
        """Send one command of our own, and nobody's operation, and wait for its reply.

        Raises:
            LinkDownError: no reply within `timeout` seconds, or the connection ended.
            RefusedError, UnexpectedReplyError: Redis answered with an error.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(reply: Any) -> None:
            if not answer.done():
                answer.set_result(reply)

        self.send(pack(command), [settle])
        return await _reply_of(answer, str(command[0]), timeout)

    def close(self, reason: str) -> None:
        """End the connection now; nothing that was queued is sent, every open reply is lost."""
        if self.closed is None:
            self._transport.abort()
            self._end(reason)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into (asyncio.BufferedProtocol)."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand each complete reply to its handler (asyncio.BufferedProtocol)."""
        # hiredis' stub knows of no buffers.
        self._reader.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]
        unfinished = self._unfinished + nbytes
        gets = self._reader.gets
        try:
            while True:
                try:
                    reply = gets()
                except Exception as error:  # noqa: BLE001 - such as a map whose key is a list
                    self.close(f"the server does not speak RESP: {error}")
                    return
                if reply is Ellipsis:
                    break
                unfinished = 0
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                elif self._expected:
                    self._expected.popleft()(reply)
                else:
                    self.close("the server sent a reply that nobody asked for")
                    return
            self._unfinished = unfinished
            if unfinished > REPLY_LIMIT:
                self.close(f"a reply is larger than {REPLY_LIMIT} bytes")
                return
            self._on_read()
        except Exception as error:  # noqa: BLE001 - see below
            # Whoever waited for this reply must not wait for ever.
            _log.exception("a reply could not be handled")
            self.close(f"a reply could not be handled: {type(error).__name__}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport has ended (asyncio.BaseProtocol)."""
        if self.closed is None:
            self._end(f"lost: {exc}" if exc else "closed by the server")

    def pause_writing(self) -> None:
        """The socket's buffer is full (asyncio.BaseProtocol)."""
        self.writable = False

    def resume_writing(self) -> None:
        """The socket takes data again (asyncio.BaseProtocol)."""
        self.writable = True

    def _end(self, reason: str) -> None:
        self.closed = reason
        # Otherwise redis-py, which does not type it, warns when the connection is collected.
        self._connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001
        expected, self._expected = self._expected, deque()
        for handler in expected:
            handler(Lost(reason))
        if self._on_close is not None:
            self._on_close(reason)


async def _reply_of(answer: asyncio.Future[Any], command: str, limit: float) -> Any:
    try:
        async with asyncio.timeout(limit):
            reply = await answer
    except TimeoutError:
        raise LinkDownError(f"{command} was not answered in {limit:g} s") from None
    if isinstance(reply, Lost):
        raise LinkDownError(f"the connection ended: {reply.reason}")
    if isinstance(reply, hiredis.ReplyError):
        raise classify(str(reply))
    return reply
