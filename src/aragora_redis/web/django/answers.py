"""Problems as Django answers them."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse

from .. import answers
from ..problems import MEDIA_TYPE, Problem
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
    if not isinstance(error, answers.OURS):
        return None
    return response_of(answers.answer_to(error, options().tokens.realm))
