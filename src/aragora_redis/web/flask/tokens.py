"""Bearer tokens of a Flask service's own users (RFC 6750)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from flask import current_app, g, request

from ..bearer import Demand, require_key
from .extension import installed

P = ParamSpec("P")
R = TypeVar("R")


class RequireToken:
    """Lets requests pass whose token is valid and not revoked; it is `g.token`, a `VerifiedToken`.

        blueprint.before_request(RequireToken("orders:read"))

    Args:
        scopes: what the token must allow, all of it.
        realm: what clients are told that the token is for.

    Raises:
        TypeError: a scope is no text.
    """

    def __init__(self, *scopes: str, realm: str = "api") -> None:
        if not all(isinstance(scope, str) for scope in scopes):
            raise TypeError("scopes are texts; without any it is @require_token()")
        self._demand = Demand(scopes, realm)

    def __call__(self) -> None:
        """Look at the token of the request that is under way.

        Raises:
            ProblemError: 401 where there is none, or it is refused; 400 where the request cannot be
                understood; 403 where it does not allow enough; 503 where this instance cannot say.
            SettingsError: there is no key to verify tokens with.
        """
        state = installed().state
        require_key(state.crossing.here.tokens.verification.has_key)
        with self._demand.sent(request.headers.getlist("Authorization")) as sent:
            verified = state.tokens.verify(sent)
        g.token = self._demand.met(verified)


def require_token(*scopes: str, realm: str = "api") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Demand a token of a view, see `RequireToken`; below the route."""
    demanded = RequireToken(*scopes, realm=realm)

    def around(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded_view(*args: P.args, **named: P.kwargs) -> R:
            demanded()
            return cast("R", current_app.ensure_sync(view)(*args, **named))

        return guarded_view

    return around
