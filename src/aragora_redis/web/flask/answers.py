"""Problems as Flask answers them."""

from __future__ import annotations

import json

from flask import Flask, Response, current_app
from flask.wrappers import Response as FlaskResponse

from ...errors import AragoraRedisError, TokenRefusedError
from ..bearer import refusal
from ..problems import MEDIA_TYPE, Problem, ProblemError, problem_outside

_OF_THE_ANSWER = frozenset(
    {
        "accept-ranges", "age", "cache-control", "etag", "expires", "last-modified", "location",
        "set-cookie",
    }
)  # fmt: skip
"""Fields that say something of an answer, and nothing of another in its place."""


def register(app: Flask) -> None:
    """Let an application answer errors of ours, and what is refused before anything ran."""
    app.register_error_handler(AragoraRedisError, lambda error: _response(problem_outside(error)))
    app.register_error_handler(TokenRefusedError, lambda error: _response(refusal(error)))
    app.register_error_handler(ProblemError, lambda error: _response(error.problem))


def put(problem: Problem, response: FlaskResponse) -> None:
    """Make an answer that nothing was sent of into that of a problem.

    What others have said of the request stays: limits, and what browsers ask of other origins.
    """
    replaced = response.response
    for name in {name.lower() for name in response.headers.keys()}:  # noqa: SIM118 - else pairs
        if name in _OF_THE_ANSWER or name.startswith("content-"):
            del response.headers[name]
    response.direct_passthrough = False
    response.status_code = problem.status
    response.mimetype = MEDIA_TYPE
    response.set_data(_body(problem))
    response.headers.update(problem.headers)
    if callable(close := getattr(replaced, "close", None)):
        close()


def _response(problem: Problem) -> Response:
    return current_app.response_class(
        _body(problem), problem.status, dict(problem.headers), mimetype=MEDIA_TYPE
    )


def _body(problem: Problem) -> str:
    return json.dumps(problem.document())
