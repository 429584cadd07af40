"""Refresh tokens for threads; see `aragora_redis.state.tokens.refresh`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..state.revocations.receipt import Receipt
from ..state.revocations.revocations import REVOKE_LIMIT
from ..state.tokens.refresh import DEFAULT_LIFETIME, Rotation
from ..times import Duration
from .crossing import Crossing


class RefreshTokens:
    """See `aragora_redis.state.tokens.refresh.RefreshTokens`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def begin(
        self,
        user: str,
        *,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute: Duration | None = None,
        **claims: Any,
    ) -> dict[str, Any]:
        """Claims of the first refresh token of a new family. Does not leave this thread."""
        return self._crossing.here.refresh_tokens.begin(
            user, lifetime=lifetime, absolute=absolute, **claims
        )

    def end(self, claims: Mapping[str, Any], *, reason: str = "") -> Receipt:
        """End the family of a refresh token, with all access tokens of it."""
        return self._crossing.cross(
            lambda state: state.refresh_tokens.end(claims, reason=reason), REVOKE_LIMIT
        )

    def is_used_up(self, claims: Mapping[str, Any]) -> bool:
        """Whether a refresh token is known to have been used. Does not leave this thread."""
        return self._crossing.here.refresh_tokens.is_used_up(claims)

    def rotate(
        self,
        token: str | Mapping[str, Any],
        *,
        nonce: str | None = None,
        lifetime: Duration | None = None,
        within: Duration = REVOKE_LIMIT,
    ) -> Rotation:
        """Use a refresh token up, and get the claims of its successor to sign."""
        return self._crossing.cross(
            lambda state: state.refresh_tokens.rotate(
                token, nonce=nonce, lifetime=lifetime, within=within
            ),
            within,
        )
