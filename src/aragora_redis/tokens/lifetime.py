"""Until when a token is revoked. Pure."""

from __future__ import annotations

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
