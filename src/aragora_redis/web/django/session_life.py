"""How long a session of Django lives, in the terms of ours. Pure.

Django says how long a session may be unused (`SESSION_COOKIE_AGE`, or `set_expiry` in seconds) or
when it ends (`set_expiry` with a date). The policies file says how long it may live in all:
`absolute`, and `longest` for who asks for more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...sessions.policy import SessionPolicy

SHORTEST = 1.0
"""Seconds that a session lives at least."""


class Life(NamedTuple):
    """What a session asks for when it begins: seconds without use, and in all."""

    idle: float
    absolute: float


def is_dated(expiry: Any) -> bool:
    """Whether what `set_expiry` has left is a date: then a session ends there, used or not."""
    return not isinstance(expiry, int | float | None)


def life(age: float, policy: SessionPolicy) -> Life | None:
    """The life of a session that begins now; None where it is over already.

    Args:
        age: what `get_expiry_age` says, in seconds.
        policy: `[sessions]` of the policies file, beyond which nothing is asked for.
    """
    if age <= 0:
        return None
    idle = min(max(age, SHORTEST), policy.most)
    return Life(idle, max(policy.absolute, idle))


def suffices(asked: Life, *, idle: float, left: float, dated: bool) -> bool:
    """Whether a session that has begun lives so already, and need not begin anew for it.

    One with a date must only live until then: who reads it finds that its time is over. So a date
    that is put off with each request changes nothing.

    Args:
        asked: the life that is asked for.
        idle: seconds without use after which it ends.
        left: seconds after which it ends in any case.
        dated: see `is_dated`.
    """
    if dated:
        return asked.idle <= min(idle, left)
    return asked.idle == idle
