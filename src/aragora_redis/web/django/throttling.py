"""Throttles of Django REST framework, for projects that have it; nothing else here needs it."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from .clients import by_address
from .rate_limit import tell_later
from .state import get_state


class PolicyThrottle(BaseThrottle):
    """Checks requests against a policy; another one is a subclass with another `policy`.

    A request counts for the user who is logged in, and for the client's address where nobody is.
    Over the limit the framework answers 429 with `Retry-After`; `RateLimitMiddleware` adds the
    fields that tell of the limit before, and `ProblemMiddleware` answers outages.

    Attributes:
        policy: its name in the policies file.
        cost: tokens that a request takes.
    """

    policy = "api"
    cost = 1

    def __init__(self) -> None:
        self._retry_after: float | None = None

    def subject(self, request: Request) -> str | None:
        """For whom a request counts; None for nobody."""
        user = request.user
        if user is not None and user.is_authenticated:
            return f"user:{user.pk}"
        return by_address(_of_django(request))

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether the request is within the limit.

        Raises:
            LimitUnavailableError: that cannot be decided, and the policy is closed then.
        """
        del view  # the framework hands it over
        whom = self.subject(request)
        if whom is None:
            return True
        decision = get_state().rate_limits.check(self.policy, whom, self.cost)
        tell_later(_of_django(request), self.policy, decision)
        self._retry_after = None if decision.allowed else decision.retry_after
        return decision.allowed

    def wait(self) -> float | None:
        """Seconds until the same request may pass."""
        return self._retry_after


def _of_django(request: Request) -> HttpRequest:
    """The request that the framework's own is made of."""
    inner: HttpRequest = request._request  # noqa: SLF001 - as the framework documents it
    return inner
