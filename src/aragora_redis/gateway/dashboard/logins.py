"""Logins as signed cookies: nothing to store, and every gateway with the same tokens accepts them.

A login is signed with a key that is derived from the token which proved it. So it can do what that
token can do, and it ends when the token is taken out of the settings.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from ...clock import Clock
from ...settings import GatewaySettings, Secret
from ..auth import Role

LIFETIME = 8 * 3600
"""Seconds for which a login is good."""
COOKIE = "aragora-dashboard"
_PURPOSE = b"aragora-redis/dashboard/v1"
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Login:
    """Who looks."""

    id: str
    role: Role
    expires_at: float
    """Unix seconds."""
    csrf: str = field(repr=False)
    """What a form must carry to prove that it is of a page of this login."""

    def admits(self, csrf: str) -> bool:
        """Whether a form carries this login's proof."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


@dataclass(frozen=True, slots=True)
class _Key:
    role: Role
    secret: bytes = field(repr=False)
    token: Secret | None


class Logins:
    """Makes logins and reads them again.

    With no token in the settings, which only a gateway on loopback starts with, everybody is let in
    as admin. The cookie is there all the same: it is what forms are proved by, and `key` signs it.
    """

    def __init__(self, settings: GatewaySettings, clock: Clock, key: bytes | None = None) -> None:
        self._clock = clock
        keys = [
            _Key(role, _derive(token.reveal_bytes()), token)
            for role, tokens in (
                (Role.ADMIN, settings.admin_tokens),
                (Role.GATEWAY, settings.gateway_tokens),
            )
            for token in tokens
        ]
        self.open = not keys
        """Whether no token is asked for."""
        self._keys = keys or [_Key(Role.ADMIN, key or secrets.token_bytes(32), None)]

    def log_in(self, presented: str) -> str | None:
        """A new cookie for who presents a token; None where it is not accepted."""
        given = Secret(presented)
        # All are compared, each in constant time, so that timing does not tell which is close.
        proven = [key for key in self._keys if key.token is not None and key.token == given]
        return self._issue(max(proven, key=_rank)) if proven else None

    def let_in(self) -> str:
        """A new cookie for anybody.

        Raises:
            PermissionError: tokens are set.
        """
        if not self.open:
            raise PermissionError("a token must be presented")
        return self._issue(self._keys[0])

    def own(self) -> str:
        """A new cookie of the least that any login may, for a process of the same settings."""
        return self._issue(self._keys[-1])

    def read(self, cookie: str | None) -> Login | None:
        """The login that a cookie proves; None where it is forged, expired or of another token."""
        payload, dot, signature = (cookie or "")[:_LONGEST].rpartition(".")
        given = signature.encode()
        proven = [
            key
            for key in self._keys
            if hmac.compare_digest(_sign(key.secret, "login", payload).encode(), given)
        ]
        if not (proven and dot):
            return None
        key = max(proven, key=_rank)
        expires, _, identity = payload.partition(".")
        if int(expires) <= self._clock.wall():
            return None
        return Login(identity, key.role, float(expires), _sign(key.secret, "csrf", payload))

    def _issue(self, key: _Key) -> str:
        payload = f"{int(self._clock.wall()) + LIFETIME}.{secrets.token_urlsafe(16)}"
        return f"{payload}.{_sign(key.secret, 'login', payload)}"


def _rank(key: _Key) -> Role:
    return key.role


def _derive(token: bytes) -> bytes:
    return hmac.digest(token, _PURPOSE, hashlib.sha256)


def _sign(key: bytes, what: str, payload: str) -> str:
    return hmac.new(key, f"{what}:{payload}".encode(), hashlib.sha256).hexdigest()
