"""Until when a token is revoked, and up to which moment of issue. Pure."""

from __future__ import annotations

from ..errors import InvalidInputError
from .entry import DAY

FAR = 10 * 366 * 86_400.0
"""Seconds ahead after which an expiry is taken for a mistake, such as milliseconds."""
EXPIRED_GRACE = 3600.0
"""Seconds for which an expired token is still revoked, for clocks that differ."""


def revoked_until(expires_at: float, now: float) -> float | None:
    """Until when a verified token is revoked that expires then; None where that is long over.

    Its issuer has signed that, so it is no mistake: what lives for longer is revoked for ten years.
    """
    if expires_at < now - EXPIRED_GRACE:
        return None
    return min(expires_at, now + FAR - DAY)


def check_expiry(expires_at: float, *, earliest: float, latest: float) -> None:
    """Refuse what somebody names as a token's expiry, where that is over or a mistake.

    Args:
        expires_at: Unix seconds, as all others.
        earliest: now, by the clock that is behind the others: what is not over there may live,
        latest: and by the one that is ahead.

    Raises:
        InvalidInputError: it is.
    """
    if expires_at < earliest - EXPIRED_GRACE:
        raise InvalidInputError("expires_at is past: the token's own expiry refuses it")
    if expires_at > latest + FAR:
        raise InvalidInputError(
            "expires_at is more than ten years ahead", remedy="give Unix seconds"
        )


def check_cut_off(cut_off: float, now: float, *, skew: float, max_lifetime: float) -> None:
    """Refuse what somebody names as the latest moment of issue to be revoked, where it cannot be.

    Raises:
        InvalidInputError: it lies ahead, or so far back that it concerns no token.
    """
    if cut_off > now + skew:
        raise InvalidInputError(
            "issued_before lies in the future",
            remedy="it would refuse every login until then; give a past moment, or none",
        )
    if cut_off + max_lifetime < now:
        raise InvalidInputError("no token issued before issued_before can still be valid")
