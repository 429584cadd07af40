"""What every middleware here needs: which paths it is for, and how it answers by itself."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import Receive, Scope, Send

from .problems import Problem


def is_below(path: str, roots: Collection[str]) -> bool:
    """Whether a path is one of `roots`, or below one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


async def answer(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with a problem; a WebSocket is closed before it opens (policy violation)."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": problem.detail})
        return
    await problem.response()(scope, receive, send)
