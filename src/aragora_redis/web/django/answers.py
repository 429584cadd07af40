"""Problems as Django answers them."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse

from ...errors import AragoraRedisError, TokenRefusedError
from ..bearer import refusal
from ..problems import MEDIA_TYPE, Problem, ProblemError, problem_outside
from .options import options


def response_of(problem: Problem) -> HttpResponse:
    """The answer that a problem is."""
    return JsonResponse(
        problem.document(),
        status=problem.status,
        headers=dict(problem.headers),
        content_type=MEDIA_TYPE,
    )


def answer_to(error: BaseException) -> HttpResponse | None:
    """How an error of ours is answered; None for any other."""
    match error:
        case ProblemError():
            return response_of(error.problem)
        case TokenRefusedError():
            return response_of(refusal(error, options().tokens.realm))
        case AragoraRedisError():
            return response_of(problem_outside(error))
    return None
