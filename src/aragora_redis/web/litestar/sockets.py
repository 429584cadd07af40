"""How a WebSocket is closed by errors of ours, for which Litestar asks no exception handler."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..answers import OURS, answer_to
from ..problems import Problem
from ..starlette.asgi import closing

_PROBLEM = "aragora_redis.problem"
"""Where in a WebSocket's scope waits what closes it."""


async def remember(error: Exception, scope: Any) -> None:
    """Keep what a WebSocket's error is, for `ClosingSockets`."""
    if scope["type"] == "websocket" and isinstance(error, OURS):
        scope[_PROBLEM] = answer_to(error)


class ClosingSockets:
    """Closes a WebSocket by a code that says whether to come again: 1013, 1008 or 1011."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the WebSocket on."""

        async def send_or_close(message: Message) -> None:
            problem: Problem | None = scope.get(_PROBLEM)
            if problem is not None and message["type"] == "websocket.close":
                message = closing(problem)
            await send(message)

        await self._app(scope, receive, send_or_close if scope["type"] == "websocket" else send)
