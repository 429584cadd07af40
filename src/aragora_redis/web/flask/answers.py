"""Problems as Flask answers them."""

from __future__ import annotations

import json

from flask import Flask, Response, current_app
from flask.wrappers import Response as FlaskResponse

from ...errors import AragoraRedisError
from ..answers import OURS, answer_to
from ..problems import MEDIA_TYPE, Problem, ProblemError

_OF_THE_ANSWER = frozenset(
    {
        "accept-ranges", "age", "cache-control", "etag", "expires", "last-modified", "location",
        "set-cookie",
    }
)  # fmt: skip
"""Fields that say something of an answer, and nothing of another in its place."""


def register(app: Flask) -> None:
    """Let an application answer errors of ours, and what is refused before anything ran."""
    for kind in OURS:
        app.register_error_handler(kind, _answer)


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


def _answer(error: AragoraRedisError | ProblemError) -> Response:
    problem = answer_to(error)
    return current_app.response_class(
        _body(problem), problem.status, dict(problem.headers), mimetype=MEDIA_TYPE
    )


def _body(problem: Problem) -> str:
    return json.dumps(problem.document())
