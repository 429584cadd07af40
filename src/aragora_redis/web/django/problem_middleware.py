"""Middleware that answers what views raise of this library."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from .answers import answer_to


class ProblemMiddleware(MiddlewareMixin):
    """Answers errors of this library that a view raises as problems (RFC 9457), and not with 500.

    401 where a token is refused, 409 on a conflict, 429 over a limit, 503 where Redis cannot be
    asked or a circuit is open. What is a fault of the service itself stays 500, and is logged.
    """

    def process_exception(self, _: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The answer to an error of ours; None leaves others to Django."""
        return answer_to(exception)
