"""Which of a user's sessions are older than others. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .stored import SessionInfo


def by_age(living: Mapping[bytes, SessionInfo], now: float) -> dict[bytes, SessionInfo]:
    """The sessions, oldest first; `now` is the server's time in Unix seconds at the look.

    What began later than now did so before the clock went back, so before all that began since.
    When a session ends says nothing of it: the policy may have been another.
    """
    return dict(
        sorted(
            living.items(),
            key=lambda each: (each[1].created_at <= now, each[1].created_at, each[1].expires_at),
        )
    )


def too_many(
    living: Mapping[bytes, SessionInfo], now: float, *, most: int, made: bytes
) -> dict[bytes, SessionInfo]:
    """Those to end, oldest first, so that `most` stay.

    All who ask at once agree, so each may find that the one it has just `made` is too old by now;
    but not where others began at the same instant, nor because the clock went back since: then one
    more stays until the next login.
    """
    oldest = list(by_age(living, now).items())[: max(len(living) - most, 0)]
    newest = max((i.created_at for i in living.values() if i.created_at <= now), default=now)
    return {member: info for member, info in oldest if member != made or info.created_at < newest}
