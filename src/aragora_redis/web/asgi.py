"""What every middleware here needs: which paths it is for, and how it answers by itself."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import Receive, Scope, Send

from .problems import Problem


def is_below(scope: Scope, roots: Collection[str]) -> bool:
    """Whether a request is for one of the paths `roots`, or below one.

    They are paths as the application's routes have them: below `root_path`, where a server or a
    mount has one.
    """
    path = _path_within(scope)
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _path_within(scope: Scope) -> str:
    """The path below `root_path`; a server may have left that out of the path, or not."""
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    within = path.removeprefix(root)
    return within or "/" if not within or within.startswith("/") else path


async def answer(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with a problem; a WebSocket is closed before it opens (policy violation)."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": problem.detail})
        return
    await problem.response()(scope, receive, send)
