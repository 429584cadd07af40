"""A body of lines that is read as it is used: however long, and bounded in all that it may hold.

A client has `PATIENCE` seconds before it must send, and must send `SLOWEST` bytes for each second
more that it is waited for. While the lines are used, nothing is read, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from starlette.types import Receive

from ..clock import SYSTEM_CLOCK, Clock
from ..tokens.lines import LINE_LIMIT
from ..web.problems import Problem

UPLOAD_LIMIT: Final = 1 << 30
"""Bytes of one upload: eight million revocations."""
UPLOADS: Final = 2
"""Uploads under way at once."""
PATIENCE = 30.0
SLOWEST: Final = 64 * 1024


class Upload:
    """One body, once."""

    def __init__(self, receive: Receive, clock: Clock = SYSTEM_CLOCK) -> None:
        self._receive = receive
        self._clock = clock
        self._received = 0
        self._waited = 0.0
        self.broken: Problem | None = None
        """Why the lines ended before the body did."""

    async def lines(self) -> AsyncIterator[bytes]:
        """Its lines, each with its line break; of a body that is broken, those that are whole."""
        rest = b""
        async for chunk in self._chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if len(line) > LINE_LIMIT:
                    break
                yield line + b"\n"
            else:
                if len(rest) <= LINE_LIMIT:
                    continue
            self._break(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a line is longer than {LINE_LIMIT} bytes",
                "send the lines as they were exported",
            )
            return
        if rest and self.broken is None:
            yield rest

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            asked_at = self._clock.monotonic()
            try:
                async with asyncio.timeout(self._patience):
                    message = await self._receive()
            except TimeoutError:
                message = None
            self._waited += self._clock.monotonic() - asked_at
            if message is not None and message["type"] == "http.disconnect":
                self._break(HTTPStatus.BAD_REQUEST, "the client went away", "send it again")
                return
            chunk = b"" if message is None else message.get("body", b"")
            self._received += len(chunk)
            if message is None or self._patience <= 0:
                self._break(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the body came slower than {SLOWEST // 1024} KiB a second",
                    "send it again from nearer by, or import it with `aragora-redis tokens import`",
                )
                return
            if self._received > UPLOAD_LIMIT:
                self._break(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the body is larger than {UPLOAD_LIMIT} bytes",
                    "import it with `aragora-redis tokens import`",
                )
                return
            yield chunk
            if not message.get("more_body"):
                return

    @property
    def _patience(self) -> float:
        """Seconds for which the client may be waited for now."""
        return PATIENCE + min(self._received / SLOWEST - self._waited, 0.0)

    def _break(self, status: HTTPStatus, why: str, remedy: str) -> None:
        self.broken = Problem(status, why, remedy, headers={"Connection": "close"})
