"""Every error of the application as a problem, and its description."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ..errors import AragoraRedisError, Ran
from ..web.problems import MEDIA_TYPE, Problem, ProblemError, problem_of
from ..web.starlette.asgi import response_of

_SHOWN = 5
"""How many faults of one body are listed."""
_PLAIN_NAME = re.compile(r"[a-z_]{1,24}")


class ProblemBody(BaseModel):
    """What every error answers."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    ran: Literal["yes", "no", "unknown"]


def problem_of_faults(faults: Iterable[Mapping[str, Any]]) -> Problem:
    """How a body is answered that is not of its form, given pydantic's list of faults."""
    told = list(dict.fromkeys(_fault(each) for each in faults))
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "; ".join(told[:_SHOWN]) + more,
        "see /openapi.json for what is accepted",
        kind="invalid-input",
    )


def _fault(fault: Mapping[str, Any]) -> str:
    kind, message = fault["type"], fault["msg"].removeprefix("Value error, ")
    path = [str(part) for part in fault["loc"][1:]]  # the first says where: body or path
    if kind == "json_invalid":
        return "the body is not JSON"
    if kind == "extra_forbidden":
        # The name itself comes from the client: only what can be a slip of the pen is repeated.
        name = path[-1] if _PLAIN_NAME.fullmatch(path[-1]) else ""
        return f"an unknown field{f' {name!r}' if name else ''}"
    return f"{'.'.join(path) or 'body'}: {message}"


def problem_of_http(error: HTTPException) -> Problem:
    """How an error of the framework is answered, such as an unknown path."""
    status = HTTPStatus(error.status_code)
    detail = {
        HTTPStatus.NOT_FOUND: "there is nothing at this path",
        HTTPStatus.METHOD_NOT_ALLOWED: "this path does not take this method",
    }.get(status, status.phrase)
    return Problem(
        status, detail, "see /openapi.json for what there is", headers=error.headers or {}
    )


INTERNAL = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "the gateway failed to handle this request",
    "its log says why",
    Ran.UNKNOWN,
)


def problem_told(error: AragoraRedisError | ProblemError) -> Problem:
    """How an endpoint's error is answered."""
    return error.problem if isinstance(error, ProblemError) else problem_of(error)


def install(app: FastAPI) -> None:
    """Answer every error of the application as a problem."""

    async def ours(_: Request, error: AragoraRedisError | ProblemError) -> JSONResponse:
        return response_of(problem_told(error))

    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return response_of(problem_of_faults(error.errors()))

    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return response_of(problem_of_http(error))

    async def internal(_: Request, _error: Exception) -> JSONResponse:
        return response_of(INTERNAL)

    app.exception_handler(AragoraRedisError)(ours)
    app.exception_handler(ProblemError)(ours)
    app.exception_handler(RequestValidationError)(invalid)
    app.exception_handler(HTTPException)(http)
    app.exception_handler(Exception)(internal)


JSON_ANSWERS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""What any operation under `/v1` may answer that takes a body."""


def answers(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The problems of an operation, for its description."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status.value: {"description": status.phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
