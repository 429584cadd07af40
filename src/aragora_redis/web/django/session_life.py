"""How long a session of Django lives, in the terms of ours. Pure.

Django says how long a session may be unused (`SESSION_COOKIE_AGE`, or `set_expiry` in seconds) or
when it ends (`set_expiry` with a date). The policies file says how long it may live in all:
`absolute`, and `longest` for who asks for more.
"""

from __future__ import annotations

from typing import NamedTuple

from ...sessions.policy import SessionPolicy

SHORTEST = 1.0
"""Seconds that a session lives at least."""


class Life(NamedTuple):
    """What a session asks for when it begins: seconds without use, and in all."""

    idle: float
    absolute: float


def life(age: float, policy: SessionPolicy, *, dated: bool) -> Life | None:
    """The life of a session that begins now; None where it is over already.

    Args:
        age: what `get_expiry_age` says, in seconds.
        policy: `[sessions]` of the policies file, beyond which nothing is asked for.
        dated: it ends at a certain time, used or not.
    """
    if age <= 0:
        return None
    idle = min(max(age, SHORTEST), policy.most)
    return Life(idle, idle if dated else max(policy.absolute, idle))
