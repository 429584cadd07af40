"""What every middleware here needs: which paths it is for, and how it answers by itself."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from ...errors import Ran
from .. import paths
from ..problems import MEDIA_TYPE, Problem

_POLICY_VIOLATION, _INTERNAL_ERROR, _TRY_AGAIN_LATER = 1008, 1011, 1013
"""Close codes (RFC 6455 section 7.4, and IANA's registry)."""
_REASON_BYTES = 123
"""What a close frame has room for."""
_FORBIDDEN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def is_below(scope: Scope, roots: Collection[str]) -> bool:
    """Whether a request is for one of the paths `roots`, or below one.

    They are paths as the application's routes have them: below `root_path`, where a server or a
    mount has one.
    """
    return paths.is_below(_path_within(scope), roots)


def _path_within(scope: Scope) -> str:
    """The path below `root_path`; a server may have left that out of the path, or not."""
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    within = path.removeprefix(root)
    return within or "/" if not within or within.startswith("/") else path


def response_of(problem: Problem) -> JSONResponse:
    """The answer that a problem is."""
    return JSONResponse(problem.document(), problem.status, dict(problem.headers), MEDIA_TYPE)


async def answer(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with a problem; a WebSocket is closed before it opens (policy violation)."""
    if scope["type"] == "websocket":
        # Nothing is waited for: an application that failed may have taken `websocket.connect`.
        await send({**closing(problem), "code": _POLICY_VIOLATION})
        return
    await response_of(problem)(scope, receive, send)


def closing(problem: Problem) -> Message:
    """What closes a WebSocket that was accepted, and tells the client whether to come again."""
    code = _INTERNAL_ERROR
    if problem.status in _FORBIDDEN:
        code = _POLICY_VIOLATION
    elif problem.status in _LATER and problem.ran is Ran.NO:
        code = _TRY_AGAIN_LATER
    reason = problem.detail.encode()[:_REASON_BYTES].decode(errors="ignore")
    return {"type": "websocket.close", "code": code, "reason": reason}
