"""What is known of a token once its signature, its issuer and its times have been checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that may be believed.

    Attributes:
        claims: as the issuer signed them; `iat` and `exp` are Unix seconds.
        id: what it is revoked under: its `jti`, or a digest of what was signed.
    """

    claims: Mapping[str, Any] = field(repr=False)
    id: str = field(repr=False)

    @property
    def user(self) -> str | None:
        """Its subject, where it names one."""
        return self.claims.get("sub") or None

    @property
    def expires_at(self) -> float | None:
        """When it expires by itself, in Unix seconds."""
        return self.claims.get("exp")

    @property
    def scopes(self) -> frozenset[str]:
        """What it allows: `scope` (RFC 9068), or `scp` as some issuers have it."""
        said = self.claims.get("scope", self.claims.get("scp", ""))
        words = said.split() if isinstance(said, str) else said
        if not isinstance(words, list):
            return frozenset()
        return frozenset(word for word in words if isinstance(word, str))

    @property
    def named(self) -> dict[str, Any]:
        """The claims with the id for `jti`: what revocations are looked up by."""
        return {**self.claims, "jti": self.id, "sub": self.user}
