"""Problems as Litestar answers them."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.types import ExceptionHandlersMap

from ...errors import AragoraRedisError
from ..answers import OURS, answer_to
from ..problems import MEDIA_TYPE, ProblemError


def _answer(_: Request[Any, Any, Any], error: AragoraRedisError | ProblemError) -> Response[Any]:
    problem = answer_to(error)
    return Response(
        problem.document(),
        status_code=problem.status.value,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


HANDLERS: ExceptionHandlersMap = dict.fromkeys(OURS, _answer)
"""How errors of ours are answered, and what is refused before anything ran."""
