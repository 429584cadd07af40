"""Server-sent events: a whole picture first, then what has changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ...clock import Clock

STREAMS = 32
"""How many may be open at a time."""
STREAMS_EACH = 8
"""How many of them by one login."""
PAUSE = 0.25
"""Seconds between two looks at the picture, and so between two messages."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment keeps proxies from closing the stream."""
_RETRY = 1000
_ALIVE = b": alive\n\n"

Sections = Mapping[str, str]


def message(kind: str, content: Any) -> bytes:
    """One message. JSON has no raw line ends, so its data is one line."""
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n".encode()


async def follow(
    sections: Callable[[], Sections],
    *,
    welcome: Callable[[], bool],
    stopping: asyncio.Event,
    clock: Clock,
) -> AsyncIterator[bytes]:
    """The messages of one stream, until the gateway stops or the login ends.

    Args:
        sections: the picture's parts by the id of their element.
        welcome: whether who watches may still do so.
        stopping: set when the gateway stops.
        clock: for the heartbeat.
    """
    yield b"retry: %d\n\n" % _RETRY
    sent: dict[str, str] = {}
    spoke_at = clock.monotonic()
    while not stopping.is_set():
        if not welcome():
            yield message("ended", None)
            return
        changed = {name: html for name, html in sections().items() if sent.get(name) != html}
        if changed or clock.monotonic() - spoke_at >= HEARTBEAT:
            yield message("sections", changed) if changed else _ALIVE
            sent.update(changed)
            spoke_at = clock.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE):
                await stopping.wait()


class Places:
    """How many streams are open, by whom, and whether there is room for one more."""

    def __init__(self, count: int = STREAMS, each: int = STREAMS_EACH) -> None:
        self._count = count
        self._each = each
        self._taken: Counter[str] = Counter()

    def take(self, login: str) -> bool:
        """Take a place; False where none is free for this login."""
        if self._taken.total() >= self._count or self._taken[login] >= self._each:
            return False
        self._taken[login] += 1
        return True

    def leave(self, login: str) -> None:
        """Give a place back."""
        self._taken[login] -= 1
        self._taken += Counter()  # forgets who has none


class EventStream(StreamingResponse):
    """A stream that holds a place until it has ended, however that came about."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[bytes], places: Places, login: str) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._places = places
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.leave(self._login)
