"""Limits of routes, of which their responses tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...clock import SYSTEM_CLOCK
from ...errors import UnknownPolicyError
from ...rate_limit.gcra import Decision
from ...rate_limit.policy import unknown_limit
from ...state.shared import SharedState
from ..headers import joined_fields, x_fields
from ..problems import ProblemError, over_limit
from .rate_limit import Subject, by_address

_TOLD = "aragora_redis.limits"
"""Where in a request's scope limits say what they have found."""


class _Told(NamedTuple):
    """What a limit has found."""

    policy: str
    decision: Decision
    x_fields: Mapping[str, str]


class RouteLimit:
    """Checks requests of a route against a policy, and has `TellingLimits` tell of it.

    Args:
        policy: its name in the policies file.
        subject: whom a request counts for; None lets it pass. By client address by default.
        cost: tokens that a request takes.
        x_headers: send `X-RateLimit-*` beside the fields of the IETF.
    """

    def __init__(
        self,
        policy: str,
        *,
        subject: Subject | None = None,
        cost: int = 1,
        x_headers: bool = False,
    ) -> None:
        self._policy = policy
        self._subject = subject or by_address()
        self._cost = cost
        self._x_headers = x_headers

    async def check(self, state: SharedState, scope: Scope) -> Decision | None:
        """The decision; None where the request does not count.

        Raises:
            ProblemError: it is over its limit.
            LimitUnavailableError: a policy that is closed in an outage cannot be asked.
            UnknownPolicyError: there is no such policy.
        """
        subject = self._subject(scope)
        if subject is None:
            return None
        try:
            decision = await state.rate_limits.check(self._policy, subject, self._cost)
        except UnknownPolicyError:
            raise unknown_limit(state.policies.limits, written=self._policy) from None
        now = SYSTEM_CLOCK.wall()
        if not decision.allowed:
            x_now = now if self._x_headers else None
            raise ProblemError(over_limit(self._policy, decision, x_now=x_now))
        if _TOLD in scope:  # a WebSocket is told nothing
            x_told = x_fields(decision, now) if self._x_headers else {}
            scope[_TOLD].append(_Told(self._policy, decision, x_told))
        return decision


class TellingLimits:
    """Adds what limits of routes have found to the response, also to one that a route makes itself.

    FastAPI gives the fields of a dependency's `Response` to no other.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with a place for what is found."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found: list[_Told] = []
        scope[_TOLD] = found

        async def send_with_fields(message: Message) -> None:
            if found and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for told in found:
                    headers.update(joined_fields(told.policy, told.decision, headers.get))
                for told in reversed(found):  # the last one comes first
                    for name, value in told.x_fields.items():
                        headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_fields)
