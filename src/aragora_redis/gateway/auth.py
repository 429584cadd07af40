"""Who may ask: services with the gateway token, operators and issuers with the admin token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from enum import IntEnum
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPBearer

from ..errors import SettingsError
from ..settings import GatewaySettings
from ..web.problems import Problem, ProblemError
from .oauth_protocol import REALM, password_of

_REALM = f'Bearer realm="{REALM}"'


class Role(IntEnum):
    """What the bearer of a token may do; each includes the ones before."""

    GATEWAY = 0
    """Limits, checks of tokens, calls through circuits; begin and use sessions of any user."""
    ADMIN = 1
    """Everything."""


_NAMES = {Role.GATEWAY: "gateway token", Role.ADMIN: "admin token"}
_NO_NAMES = dict.fromkeys(Role, "no token")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class AcceptedTokens:
    """The bearer tokens of the gateway, current and previous.

    With none at all everybody may do everything, which is refused anywhere but on loopback.

    Raises:
        SettingsError: there is no token, and others than this machine can connect.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        # Of a token that is both, the last that matches says what it may: the most.
        self._known = tuple(
            (role, token.reveal_bytes())
            for role, tokens in (
                (Role.GATEWAY, settings.gateway_tokens),
                (Role.ADMIN, settings.admin_tokens),
            )
            for token in tokens
        )
        self.required = bool(self._known)
        """Whether a token is asked for."""
        self.names: Final[Mapping[Role, str]] = _NAMES if self.required else _NO_NAMES
        """Who acts, where nobody is named: by what they proved that they may."""
        if not self.required and not is_loopback(settings.host):
            raise SettingsError(
                f"the gateway would listen on {settings.host} and let everybody revoke tokens",
                remedy="set ARAGORA_GATEWAY_TOKEN and ARAGORA_ADMIN_TOKEN, "
                "or ARAGORA_HOST to a loopback address",
            )

    def role_of(self, authorization: str | None) -> Role | None:
        """The highest role that an `Authorization` header proves, or None."""
        if not self.required:
            return Role.ADMIN
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        presented = text.strip().encode()
        proven = None
        # All are compared, each in constant time, so that timing does not tell which is close.
        for role, known in self._known:
            if hmac.compare_digest(known, presented):
                proven = role
        return proven

    def role_of_client(self, authorization: str | None) -> Role | None:
        """The same for a client of OAuth, which may send its token as a Basic password."""
        password = password_of(authorization)
        return self.role_of(f"Bearer {password}" if password is not None else authorization)


def unauthenticated(authorization: str | None) -> Problem:
    """The answer to a request without a valid token."""
    challenge = _REALM if authorization is None else f'{_REALM}, error="invalid_token"'
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "no token was given" if authorization is None else "the token is not accepted",
        "send Authorization: Bearer with the value of ARAGORA_GATEWAY_TOKEN or ARAGORA_ADMIN_TOKEN",
        headers={"WWW-Authenticate": challenge},
    )


_bearer = HTTPBearer(auto_error=False, description="The gateway token or the admin token.")
_FORBIDDEN = Problem(
    HTTPStatus.FORBIDDEN,
    "this needs the admin token",
    "send the value of ARAGORA_ADMIN_TOKEN",
    headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'},
)


def needs(role: Role) -> Dependency:
    """A dependency that refuses who may do less than `role`.

    Who it is was found out by `guards.Guards`, before the body was read; without that no request
    passes.
    """

    async def check(request: Request, _token: Annotated[Any, Security(_bearer)]) -> None:
        if request.state.role < role:
            raise ProblemError(_FORBIDDEN)

    dependency: Dependency = Depends(check)
    return dependency


def _caller(request: Request) -> str:
    caller: str = request.state.caller
    return caller


Caller = Annotated[str, Depends(_caller)]
"""By what a request has proved that it may act: who acts, where its body names nobody."""
