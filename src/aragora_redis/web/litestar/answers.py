"""Problems as Litestar answers them."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.types import ExceptionHandlersMap

from ...errors import AragoraRedisError, TokenRefusedError
from ..bearer import refusal
from ..problems import MEDIA_TYPE, Problem, ProblemError, problem_outside
from ..starlette.asgi import closing

_Request = Request[Any, Any, Any]


def _ours(_: _Request, error: AragoraRedisError) -> Response[Any]:
    return _response(problem_outside(error))


def _token(_: _Request, error: TokenRefusedError) -> Response[Any]:
    return _response(refusal(error))


def _refused(_: _Request, error: ProblemError) -> Response[Any]:
    return _response(error.problem)


HANDLERS: ExceptionHandlersMap = {
    AragoraRedisError: _ours,
    TokenRefusedError: _token,
    ProblemError: _refused,
}
"""How errors of ours are answered, and what is refused before anything ran."""


def raise_problem(connection: ASGIConnection[Any, Any, Any, Any], problem: Problem) -> None:
    """Refuse a request; a WebSocket is closed, by a code that says whether to come again.

    Litestar asks its exception handlers for requests alone.

    Raises:
        ProblemError: it is a request.
        WebSocketException: it is a WebSocket.
    """
    if connection.scope["type"] == ScopeType.WEBSOCKET:
        close = closing(problem)
        raise WebSocketException(detail=close["reason"], code=close["code"])
    raise ProblemError(problem)


def _response(problem: Problem) -> Response[Any]:
    return Response(
        problem.document(),
        status_code=problem.status.value,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )
