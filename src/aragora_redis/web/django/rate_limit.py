"""Limits of requests: for all of a project by middleware, for one view by a decorator."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from ...clock import SYSTEM_CLOCK
from ...errors import AragoraRedisError
from ...rate_limit.gcra import Decision
from ..headers import joined_fields, x_fields
from ..paths import is_below
from ..problems import ProblemError, over_limit, problem_outside
from .answers import response_of
from .clients import by_address
from .options import Subject, options, subject_of
from .state import get_state, planned

V = TypeVar("V", bound=Callable[..., Any])

_TOLD = "_aragora_limits"
limited_by: set[str] = set()
"""The policies that decorators have named, for `manage.py check`."""


class Told(NamedTuple):
    """What was found of a limit."""

    policy: str
    decision: Decision

    def tell(self, response: HttpResponseBase) -> None:
        """Tell the client of it, beside what it is told of other limits."""
        for name, value in joined_fields(self.policy, self.decision, response.headers.get).items():
            response.headers[name] = value
        if options().x_headers:
            for name, value in x_fields(self.decision, SYSTEM_CLOCK.wall()).items():
                response.headers.setdefault(name, value)


def tell_later(request: HttpRequest, policy: str, decision: Decision) -> None:
    """Have `RateLimitMiddleware` tell the client of a limit, where that is installed."""
    told: list[Told] | None = getattr(request, _TOLD, None)
    if told is not None:
        told.insert(0, Told(policy, decision))


def check(request: HttpRequest, policy: str, subject: Subject, cost: int) -> Told | None:
    """Count a request; None where it counts for nobody.

    Raises:
        ProblemError: 429 where it is over the limit, 503 where that cannot be decided.
    """
    whom = subject(request)
    if whom is None:
        return None
    try:
        decision = get_state().rate_limits.check(policy, whom, cost)
    except AragoraRedisError as error:
        raise ProblemError(problem_outside(error)) from None
    if not decision.allowed:
        x_now = SYSTEM_CLOCK.wall() if options().x_headers else None
        raise ProblemError(over_limit(policy, decision, x_now=x_now))
    return Told(policy, decision)


def known(policy: str) -> str:
    """The name of a policy, if there is one.

    Raises:
        ImproperlyConfigured: there is none.
    """
    names = planned().policies.limits
    if policy in names:
        return policy
    raise ImproperlyConfigured(
        f"there is no limit {policy!r} in the policies file (ARAGORA_POLICIES); it has: "
        + ", ".join(sorted(names))
    )


class RateLimitMiddleware(MiddlewareMixin):
    """Checks each request against the policies of `ARAGORA["LIMITS"]`, one after the other.

    During an outage a fail-closed policy is answered with 503. A subject that needs
    `request.user` wants this after `AuthenticationMiddleware`; otherwise it is best placed first.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self._limits = [
            (known(policy), each, subject_of(each.subject, by_address))
            for policy, each in options().limits.items()
        ]
        get_state()

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        """Refuse the request, or let it pass."""
        told: list[Told] = []
        setattr(request, _TOLD, told)
        for policy, each, subject in self._limits:
            path = request.path_info
            if not is_below(path, each.paths) or is_below(path, each.exempt):
                continue
            try:
                found = check(request, policy, subject, each.cost)
            except ProblemError as error:
                return response_of(error.problem)
            if found is not None:
                told.append(found)
        return None

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Tell the client how much it may send."""
        for each in getattr(request, _TOLD, ()):
            each.tell(response)
        return response


def limited(policy: str, *, subject: Subject | None = None, cost: int = 1) -> Callable[[V], V]:
    """A decorator for views, sync or async: 429 over the limit, 503 where it cannot be decided.

    Args:
        policy: its name in the policies file.
        subject: says for whom a request counts, None for nobody; by default the client's address.
            For an async view it is called in a thread, so `request.user` may be asked.
        cost: tokens that a request takes.

    Raises:
        TypeError: no policy is named.
    """
    if not isinstance(policy, str):
        raise TypeError('name the limit: @limited("login")')
    limited_by.add(policy)
    whom = subject or by_address

    def decorate(view: V) -> V:
        if iscoroutinefunction(view):

            @wraps(view)
            async def limited_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    told = await sync_to_async(check)(request, policy, whom, cost)
                except ProblemError as error:
                    return response_of(error.problem)
                return _telling(await view(request, *args, **kwargs), told)

            return cast("V", limited_async)

        @wraps(view)
        def limited_sync(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                told = check(request, policy, whom, cost)
            except ProblemError as error:
                return response_of(error.problem)
            return _telling(view(request, *args, **kwargs), told)

        return cast("V", limited_sync)

    return decorate


def _telling(response: HttpResponseBase, told: Told | None) -> HttpResponseBase:
    if told is not None:
        told.tell(response)
    return response
