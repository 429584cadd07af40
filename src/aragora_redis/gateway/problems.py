"""Errors as problem details (RFC 9457): what happened, whether it ran, and what to do next.

A value that a client sent is never echoed, because it may be a token in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ..errors import (
    AragoraRedisError,
    CircuitOpenError,
    InvalidInputError,
    LayoutError,
    OutageError,
    OutcomeUnknownError,
    Ran,
    SessionConflictError,
    SessionGoneError,
    TooManySessionsError,
    UnexpectedReplyError,
    UnknownPolicyError,
)
from .headers import retry_after

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:aragora-redis:"
_SHOWN = 5
"""How many faults of one body are listed."""
_PLAIN_NAME = re.compile(r"[a-z_]{1,24}")
_STATUS: Mapping[type[AragoraRedisError], HTTPStatus] = {
    UnknownPolicyError: HTTPStatus.NOT_FOUND,
    InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SessionGoneError: HTTPStatus.NOT_FOUND,
    SessionConflictError: HTTPStatus.CONFLICT,
    TooManySessionsError: HTTPStatus.CONFLICT,
    CircuitOpenError: HTTPStatus.SERVICE_UNAVAILABLE,
    OutageError: HTTPStatus.SERVICE_UNAVAILABLE,
    OutcomeUnknownError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnexpectedReplyError: HTTPStatus.SERVICE_UNAVAILABLE,
    LayoutError: HTTPStatus.SERVICE_UNAVAILABLE,
    AragoraRedisError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of an error and of all that derive from it, as far as they are not named."""


class ProblemBody(BaseModel):
    """What every error answers."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    ran: Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One error, about to be answered.

    Attributes:
        kind: last part of the problem's type; empty where the status says it all.
        headers: fields of the answer beside the body.
    """

    status: HTTPStatus
    detail: str
    remedy: str = ""
    ran: Ran = Ran.NO
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> JSONResponse:
        """The answer."""
        title = self.kind.replace("-", " ").capitalize() if self.kind else self.status.phrase
        body = ProblemBody(
            type=_TYPE + self.kind if self.kind else "about:blank",
            title=title,
            status=self.status,
            detail=self.detail,
            remedy=self.remedy,
            ran=self.ran.value,
        )
        return JSONResponse(body.model_dump(), self.status, dict(self.headers), MEDIA_TYPE)


class ProblemError(Exception):
    """A request is refused before anything of ours ran."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def problem_of(error: AragoraRedisError) -> Problem:
    """How one of our errors is answered."""
    kind = type(error)
    status = next(_STATUS[base] for base in kind.__mro__ if base in _STATUS)
    headers = {}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        wait = getattr(error, "retry_after", 1.0)
        headers["Retry-After"] = retry_after(wait)
    slug = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__.removesuffix("Error")).lower()
    return Problem(status, str(error.args[0]), error.remedy, error.ran, slug, headers)


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


_INTERNAL = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "the gateway failed to handle this request",
    "its log says why",
    Ran.UNKNOWN,
)


def install(app: FastAPI) -> None:
    """Answer every error of the application as a problem."""

    async def ours(_: Request, error: AragoraRedisError) -> JSONResponse:
        return problem_of(error).response()

    async def refused(_: Request, error: ProblemError) -> JSONResponse:
        return error.problem.response()

    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem_of_faults(error.errors()).response()

    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return problem_of_http(error).response()

    async def internal(_: Request, _error: Exception) -> JSONResponse:
        return _INTERNAL.response()

    app.exception_handler(AragoraRedisError)(ours)
    app.exception_handler(ProblemError)(refused)
    app.exception_handler(RequestValidationError)(invalid)
    app.exception_handler(HTTPException)(http)
    app.exception_handler(Exception)(internal)


JSON_ANSWERS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
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
