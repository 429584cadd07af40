"""Errors as problem details (RFC 9457): what happened, whether it ran, and what to do next.

A value that a client sent is never echoed, because it may be a token in the wrong place.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from ..errors import (
    AragoraRedisError,
    CircuitFullError,
    CircuitOpenError,
    InvalidInputError,
    LayoutError,
    LimitExceededError,
    NotStartedError,
    OutageError,
    OutcomeUnknownError,
    Ran,
    RefreshRacedError,
    SessionConflictError,
    SessionGoneError,
    TooManySessionsError,
    UnexpectedReplyError,
    UnknownPolicyError,
)
from ..rate_limit.gcra import Decision
from .headers import fields, retry_after

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:aragora-redis:"
_STATUS: Mapping[type[AragoraRedisError], HTTPStatus] = {
    UnknownPolicyError: HTTPStatus.NOT_FOUND,
    InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SessionGoneError: HTTPStatus.NOT_FOUND,
    SessionConflictError: HTTPStatus.CONFLICT,
    RefreshRacedError: HTTPStatus.CONFLICT,
    TooManySessionsError: HTTPStatus.CONFLICT,
    CircuitFullError: HTTPStatus.SERVICE_UNAVAILABLE,
    CircuitOpenError: HTTPStatus.SERVICE_UNAVAILABLE,
    LimitExceededError: HTTPStatus.TOO_MANY_REQUESTS,
    NotStartedError: HTTPStatus.SERVICE_UNAVAILABLE,
    OutageError: HTTPStatus.SERVICE_UNAVAILABLE,
    OutcomeUnknownError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnexpectedReplyError: HTTPStatus.SERVICE_UNAVAILABLE,
    LayoutError: HTTPStatus.SERVICE_UNAVAILABLE,
    AragoraRedisError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of an error and of all that derive from it, as far as they are not named."""


_OF_REDIS = (OutageError, OutcomeUnknownError, UnexpectedReplyError, LayoutError)
"""Errors whose messages tell of servers."""


_REMEDIES = {
    Ran.NO: "try again shortly",
    Ran.UNKNOWN: "it may have been done, so look before you ask for it again",
    Ran.YES: "it was done, so do not ask for it again",
}
"""What whoever asks a service is told of them, by whether the operation ran."""
_OF_CIRCUITS = (CircuitOpenError, CircuitFullError)
"""Errors whose messages tell what a service calls: circuits are named after hosts."""
_OF_THE_SERVICE = (UnknownPolicyError, NotStartedError)
"""Errors that whoever asks a service cannot mend, though whoever asks the gateway can."""


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

    def document(self) -> dict[str, str | int]:
        """The body, to be written as JSON under `MEDIA_TYPE`."""
        title = self.kind.replace("-", " ").capitalize() if self.kind else self.status.phrase
        return {
            "type": _TYPE + self.kind if self.kind else "about:blank",
            "title": title,
            "status": self.status.value,
            "detail": self.detail,
            "remedy": self.remedy,
            "ran": self.ran.value,
        }


_INTERNAL = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR, "this service cannot handle the request", "its log says why"
)
_AWAY = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "the state of this service cannot be used now",
    _REMEDIES[Ran.NO],
    headers={"Retry-After": "1"},
)
"""Between its end and its next start a service can do no more than in an outage."""


class ProblemError(Exception):
    """A request is refused before anything of ours ran."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def over_limit(policy: str, decision: Decision, *, x_now: float | None = None) -> Problem:
    """How a request is answered that is over its limit; with `x_now` see `headers.fields`."""
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too many requests",
        "wait as long as Retry-After says",
        kind="limit-exceeded",
        headers=fields(policy, decision, x_now=x_now),
    )


def problem_of(error: AragoraRedisError) -> Problem:
    """How one of our errors is answered."""
    kind = type(error)
    status = next(_STATUS[base] for base in kind.__mro__ if base in _STATUS)
    headers = {}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        wait = getattr(error, "retry_after", 1.0)
        headers["Retry-After"] = retry_after(wait)
    slug = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__.removesuffix("Error")).lower()
    return Problem(status, error.message, error.remedy, error.ran, slug, headers)


def problem_outside(error: AragoraRedisError) -> Problem:
    """How it is answered to whoever is not to know how a service is built: no address, no circuit.

    What exactly cannot be used is told in the log, once, and in `status()`. A fault of the service
    itself is told in the log alone, each time.
    """
    problem = problem_of(error)
    if isinstance(error, _OF_THE_SERVICE) or problem.status is _INTERNAL.status:
        _log.error("a request cannot be handled: %s", error)
        return _AWAY if isinstance(error, NotStartedError) else _INTERNAL
    if isinstance(error, _OF_CIRCUITS):
        return replace(
            problem,
            detail="something that this service needs cannot be asked now",
            remedy="wait as long as Retry-After says",
        )
    if not isinstance(error, _OF_REDIS):
        return problem
    return replace(problem, detail=_AWAY.detail, remedy=_REMEDIES[error.ran])
