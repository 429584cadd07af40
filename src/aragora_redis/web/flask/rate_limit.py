"""Limits of a Flask application, of a blueprint, and of a view."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from flask import current_app, request

from ...clock import SYSTEM_CLOCK
from ...errors import UnknownPolicyError
from ...rate_limit.policy import unknown_limit
from ..headers import x_fields
from ..problems import ProblemError, over_limit
from .extension import Told, installed, tell

P = ParamSpec("P")
R = TypeVar("R")

Subject = Callable[[], str | None]


def by_address() -> str:
    """Whom this request counts for by where it comes from: an IPv6 customer has a whole network.

    The application's trusted proxies are believed, see `Aragora`.
    """
    addresses = installed().addresses
    return addresses.subject(request.remote_addr, request.headers.getlist(addresses.field))


class RateLimit:
    """Checks requests against a policy: 429 over its limit, 503 where it is closed in an outage.

        app.before_request(RateLimit("api", exempt=["healthz", "static"]))  # or a blueprint's

    Args:
        policy: its name in the policies file.
        subject: whom a request counts for; None lets it pass. By client address by default.
        cost: tokens that a request takes.
        exempt: endpoints that are not limited.
        x_headers: send `X-RateLimit-*` beside the fields of the IETF.

    Raises:
        TypeError: no policy is named, or `exempt` is no list.
    """

    def __init__(
        self,
        policy: str,
        *,
        subject: Subject = by_address,
        cost: int = 1,
        exempt: Collection[str] = (),
        x_headers: bool = False,
    ) -> None:
        if not isinstance(policy, str):
            raise TypeError('name the limit: @limited("login")')
        if isinstance(exempt, str):
            raise TypeError('exempt is a list of endpoints: ["healthz"]')
        self._policy = policy
        self._subject = subject
        self._cost = cost
        self._exempt = frozenset(exempt)
        self._x_headers = x_headers

    def __call__(self) -> None:
        """Check the request that is under way.

        Raises:
            ProblemError: it is over its limit.
            LimitUnavailableError: a policy that is closed in an outage cannot be asked.
            UnknownPolicyError: there is no such policy.
        """
        subject = None if request.endpoint in self._exempt else self._subject()
        if subject is None:
            return
        state = installed().state
        try:
            decision = state.rate_limits.check(self._policy, subject, self._cost)
        except UnknownPolicyError:
            raise unknown_limit(state.policies.limits, written=self._policy) from None
        now = SYSTEM_CLOCK.wall()
        if not decision.allowed:
            x_now = now if self._x_headers else None
            raise ProblemError(over_limit(self._policy, decision, x_now=x_now))
        tell(Told(self._policy, decision, x_fields(decision, now) if self._x_headers else {}))


def limited(
    policy: str,
    *,
    subject: Subject = by_address,
    cost: int = 1,
    x_headers: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Limit a view, see `RateLimit`; below the route, and below what its subject needs."""
    limit = RateLimit(policy, subject=subject, cost=cost, x_headers=x_headers)

    def around(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def limited_view(*args: P.args, **named: P.kwargs) -> R:
            limit()
            return cast("R", current_app.ensure_sync(view)(*args, **named))

        return limited_view

    return around
