"""HTTP/1.1 with clients that may mean harm: what each may send, how slowly, and how far ahead.

The server's parser refuses what has two readings (both lengths, a length twice, folded fields, line
ends without a carriage return). What it does not bound is bounded here: the head of a request, what
follows a body, requests that are sent ahead, and the time for all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ..clock import SYSTEM_CLOCK, Clock
from ..web.client_address import subject_of
from ..web.problems import Problem
from ..web.starlette.asgi import response_of
from .crowd import Crowd, Why
from .one_write import OneWriteProtocol

FIELDS: Final = 100
"""Fields that a request may have."""
PIECE: Final = 2048
"""Bytes that are parsed at a time: they may be 512 fields, each of which takes time and memory."""
AHEAD: Final = 16
"""Requests that may be sent before the one in front of them is answered."""


def _answer(problem: Problem) -> bytes:
    response = response_of(problem)
    lines = [f"HTTP/1.1 {problem.status.value} {problem.status.phrase}".encode()]
    lines += [b"%b: %b" % field for field in response.raw_headers]
    return b"\r\n".join((*lines, b"connection: close", b"", bytes(response.body)))


_ANSWERS: Final[Mapping[Why, bytes]] = {
    Why.NOT_HTTP: _answer(
        Problem(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1", "send one (RFC 9112)")
    ),
    Why.LARGE_HEAD: _answer(
        Problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the fields of the request are too long, or more than {FIELDS}",
            "send less, such as fewer cookies (ARAGORA_HTTP_MAX_HEAD)",
        )
    ),
    Why.SLOW_HEAD: _answer(
        Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            "the fields of the request did not come in time",
            "send it again (ARAGORA_HTTP_HEAD_TIMEOUT)",
        )
    ),
    Why.UPGRADE: _answer(
        Problem(
            HTTPStatus.NOT_IMPLEMENTED,
            "the gateway speaks HTTP/1.1 alone, and leads nowhere else",
            "send a body without the field Upgrade; no CONNECT",
        )
    ),
}
"""What is answered to a request that is not let in; silence to all else."""


class _RefusedError(Exception):
    """Stops the parser."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


class BoundedProtocol(OneWriteProtocol):
    """The server's own way to speak HTTP, with bounds; a member of the crowd.

    Args:
        crowd: all who are connected, and what they may take.
        clock: the source of time.
    """

    def __init__(
        self, *args: Any, crowd: Crowd, clock: Clock = SYSTEM_CLOCK, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.address = ""
        self._crowd = crowd
        self._limits = crowd.limits
        self._piece = min(PIECE, crowd.limits.max_head)
        self._now = clock.monotonic
        self._since = self._now()  # when the client was left to act
        self._stalled_at: float | None = None  # since when it takes nothing
        self._closing_at: float | None = None  # since when it was seen to be closing
        self._worked_on: RequestResponseCycle | None = None  # what was sent ahead waits for it
        self._in_head = False
        self._in_body = False
        self._deaf = False  # what comes is not looked at any more
        self._fed = 0  # bytes of the piece that is looked at
        self._unseen = 0  # bytes since the piece in which something came that is of use

    # --- the connection -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve a connection, if there is room."""
        super().connection_made(transport)
        self.address = subject_of(self.client[0]) if self.client else ""
        if not self._crowd.admit(self):
            self._deaf = True
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._crowd.leave(self)
        if self._worked_on is not None:  # the server tells the request that was read last
            self._worked_on.disconnected = True
            self._worked_on.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        self._stalled_at = self._now()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._stalled_at = None
        super().resume_writing()

    @property
    def proven(self) -> bool:
        """Whether the last request on it had a token that was accepted."""
        return self.cycle is not None and "role" in self.cycle.scope.get("state", ())

    def awaited_since(self) -> float | None:
        """When the client was left to act; None while a request of it is worked on."""
        if self._stalled_at is not None:
            return self._stalled_at
        if self.pipeline:
            return None
        return self._since if self._idle or self.cycle.more_body else None

    def overdue(self, now: float) -> Why | None:
        """What the client should have done by now."""
        if self.transport.is_closing() and self._closing_at is None:
            self._closing_at = now
        stalled_at = self._stalled_at if self._closing_at is None else self._closing_at
        if stalled_at is not None:
            return Why.UNREAD if now - stalled_at > self._limits.send_timeout else None
        within = self._limits.head_timeout
        if self.cycle is not None and not self._in_head:
            within += self._limits.keep_alive  # it has not begun, and need not yet
        return Why.SLOW_HEAD if self._idle and now - self._since > within else None

    def end(self, why: Why) -> None:
        """End it; in the middle of a head with an answer."""
        self._deaf = True
        if why is Why.SLOW_HEAD and self._in_head:
            # It is a member until that has been taken, or is overdue.
            self.transport.write(_ANSWERS[why])
            self.transport.close()
        else:
            self._crowd.leave(self)
            self.transport.abort()

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # --- what the client sends ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Look at what has come, in pieces."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        size = self._piece
        if len(data) <= size:
            self._look_at(data)
            return
        for begin in range(0, len(data), size):
            self._look_at(data[begin : begin + size])
            if self._deaf:
                return

    def _look_at(self, piece: bytes) -> None:
        self._fed = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # It is answered as if it had asked for nothing. What follows would be another protocol.
            self._deaf = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.why if isinstance(cause, _RefusedError) else Why.NOT_HTTP)
        else:
            if self._in_head or self._in_body:
                self._unseen += self._fed
                if self._unseen > self._limits.max_head or len(self.headers) > FIELDS:
                    self._refuse(Why.LARGE_HEAD)

    def _refuse(self, why: Why) -> None:
        """Hear no more, and say why unless an answer is due before: then close after that."""
        self._crowd.turned_away(why)
        self._deaf = True
        self.transport.pause_reading()
        self.flow.read_paused = False  # so that no answer resumes it
        if self.pipeline:
            if self._in_body:
                self.pipeline.popleft()  # the last one, whose body does not come
            return
        if not self._idle and (not self._in_body or self.cycle.response_started):
            return
        if why in _ANSWERS:
            self.transport.write(_ANSWERS[why])
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= AHEAD:
            raise _RefusedError(Why.PIPELINED)
        super().on_message_begin()
        self._in_head = True
        self._unseen = -self._fed
        if self._idle:
            self._since = self._now()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        # What has come in one piece is no longer than it may be.
        if len(self.headers) > FIELDS or (self._unseen >= 0 and self._too_long()):
            raise _RefusedError(Why.LARGE_HEAD)
        if self.parser.should_upgrade() and self._leads_elsewhere():
            raise _RefusedError(Why.UPGRADE)
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        # Fields after the body must not be taken for those before it (RFC 9110, section 6.5.1).
        self.headers = []
        if not self.pipeline:  # else it waits there
            self._worked_on = self.cycle

    def on_body(self, body: bytes) -> None:
        """Something of its body."""
        self._unseen = -self._fed
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered."""
        self._since = self._now()
        if self._deaf and not self.pipeline:
            self.transport.close()
        if self.pipeline:
            self._worked_on, _ = self.pipeline[-1]
        super().on_response_complete()

    def _too_long(self) -> bool:
        fields = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.url) + fields > self._limits.max_head

    def _leads_elsewhere(self) -> bool:
        """Whether what follows the head would be lost: the parser reads no body after it."""
        if self.parser.get_method() == b"CONNECT":
            return True
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 "))
            for name, value in self.headers
        )
