"""Bearer tokens of requests (RFC 6750): verified, and looked up among the revoked."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from ...errors import SettingsError
from ...jwt import VerifiedToken
from ...settings import Settings
from .. import bearer
from ..bearer import Demand
from ..paths import is_below
from ..problems import ProblemError
from .answers import response_of
from .options import options
from .state import get_state, planned

V = TypeVar("V", bound=Callable[..., Any])

TOKEN, CLAIMS = "token", "claims"
"""What a request has of its token."""
demands: list[Collection[str]] = []
"""The scopes that decorators have demanded, for `manage.py check`."""


def token_of(request: HttpRequest) -> VerifiedToken:
    """The token of a request, with its type.

    Raises:
        RuntimeError: neither the middleware nor the decorator is in force for this view.
    """
    token = getattr(request, TOKEN, None)
    if not isinstance(token, VerifiedToken):
        raise RuntimeError("no token is demanded here: use TokenMiddleware, or require_token")  # noqa: TRY004 - the project is wired wrongly, no argument is
    return token


def require_key(settings: Settings) -> None:
    """Refuse to work without a key to verify tokens with.

    Raises:
        SettingsError: there is none.
    """
    bearer.require_key(any(issuer.has_key for issuer in (settings.jwt, *settings.issuers)))


def admit(request: HttpRequest, demand: Demand) -> None:
    """Verify the token of a request, which has it from then on as `token` and `claims`.

    Raises:
        ProblemError: see `Demand`.
    """
    field = request.META.get("HTTP_AUTHORIZATION")
    with demand.sent([] if field is None else [field]) as sent:
        verified = get_state().tokens.verify(sent)
    demand.met(verified)
    setattr(request, TOKEN, verified)
    setattr(request, CLAIMS, verified.claims)


class TokenMiddleware(MiddlewareMixin):
    """Lets requests pass whose token is valid and not revoked, as `ARAGORA["TOKENS"]` says.

    The token is in `request.token`, its claims in `request.claims`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        try:
            require_key(planned().settings)
        except SettingsError as error:
            raise ImproperlyConfigured(str(error)) from None
        self._told = options().tokens
        self._demand = Demand(self._told.scopes, self._told.realm)
        get_state()

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        """Refuse the request, or let it pass with its token."""
        path = request.path_info
        if not is_below(path, self._told.paths) or is_below(path, self._told.exempt):
            return None
        try:
            admit(request, self._demand)
        except ProblemError as error:
            return response_of(error.problem)
        return None


def require_token(*scopes: str) -> Callable[[V], V]:
    """A decorator for views, sync or async, that need a token.

    401 without one that is valid and not revoked, 403 where it does not allow enough, 503 where
    this instance cannot say. A view that is asked by no browser wants `csrf_exempt` too.

    Args:
        scopes: what the token must allow, all of it.

    Raises:
        TypeError: a scope is no text.
    """
    if not all(isinstance(scope, str) for scope in scopes):
        raise TypeError("scopes are texts; without any it is @require_token()")
    demands.append(scopes)

    def decorate(view: V) -> V:
        if iscoroutinefunction(view):

            @wraps(view)
            async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    await sync_to_async(_admit)(request, scopes)
                except ProblemError as error:
                    return response_of(error.problem)
                return await view(request, *args, **kwargs)

            return cast("V", guarded_async)

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                _admit(request, scopes)
            except ProblemError as error:
                return response_of(error.problem)
            return view(request, *args, **kwargs)

        return cast("V", guarded)

    return decorate


def _admit(request: HttpRequest, scopes: Collection[str]) -> None:
    require_key(get_state().settings)
    admit(request, Demand(scopes, options().tokens.realm))
