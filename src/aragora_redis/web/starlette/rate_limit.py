"""Middleware that limits requests, and tells clients how much they may send."""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...clock import SYSTEM_CLOCK
from ...errors import AragoraRedisError
from ...rate_limit.gcra import Decision
from ...rate_limit.policy import unknown_limit
from ...state.shared import SharedState
from ..client_address import AddressSubjects, proxies
from ..headers import joined_fields, x_fields
from ..paths import listed_paths
from ..problems import over_limit, problem_outside
from .asgi import answer, is_below

Subject = Callable[[Scope], str | None]


def by_address(trusted_proxies: Collection[str] = ()) -> Subject:
    """Subjects by client address.

    Over a Unix socket nobody has an address. With `unix` among the trusted proxies
    `X-Forwarded-For` tells it; without, all such requests count as one subject, and the log says
    so once. With `forwarded` among them all of them are taken to write `Forwarded` (RFC 7239).

    Args:
        trusted_proxies: networks, or `unix`, whose word is taken for whom they connect for.

    Raises:
        SettingsError: one is none of these.
    """
    subjects = AddressSubjects(proxies(trusted_proxies))

    def subject(scope: Scope) -> str:
        client = scope.get("client")
        told = Headers(scope=scope).getlist(subjects.field)
        return subjects.subject(client[0] if client else None, told)

    return subject


class RateLimitMiddleware:
    """Checks each request against one policy before the application sees it.

    During an outage a fail-closed policy is answered with 503. A WebSocket that is over its limit
    is refused before it opens.

    Args:
        state: started by the application, see `web.fastapi.lifespan`.
        policy: its name in the policies file.
        subject: whom a request counts for; None lets it pass uncounted. By address by default.
        exempt: paths, with all below them, that are not limited; without `root_path`.
        x_headers: send `X-RateLimit-*` beside the fields of the IETF.

    Raises:
        TypeError, InvalidInputError: `exempt` is no list of paths.
        UnknownPolicyError: there is no such policy.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: SharedState,
        policy: str = "api",
        subject: Subject | None = None,
        exempt: Collection[str] = (),
        x_headers: bool = False,
    ) -> None:
        self._app = app
        self._state = state
        if policy not in state.policies.limits:
            raise unknown_limit(state.policies.limits, written=policy)
        self._policy = policy
        self._subject = subject or by_address()
        self._exempt = listed_paths(exempt, "exempt")
        self._x_headers = x_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        subject = None
        if scope["type"] in {"http", "websocket"} and not is_below(scope, self._exempt):
            subject = self._subject(scope)
        if subject is None:
            await self._app(scope, receive, send)
            return
        try:
            decision = await self._state.rate_limits.check(self._policy, subject)
        except AragoraRedisError as error:
            await answer(problem_outside(error), scope, receive, send)
            return
        if not decision.allowed:
            x_now = SYSTEM_CLOCK.wall() if self._x_headers else None
            await answer(over_limit(self._policy, decision, x_now=x_now), scope, receive, send)
            return
        await self._app(scope, receive, self._telling(decision, send))

    def _telling(self, decision: Decision, send: Send) -> Send:
        x_told = x_fields(decision, SYSTEM_CLOCK.wall()) if self._x_headers else {}

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(joined_fields(self._policy, decision, headers.get))
                for name, value in x_told.items():
                    headers.setdefault(name, value)
            await send(message)

        return send_with_fields
