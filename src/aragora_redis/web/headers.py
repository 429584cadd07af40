"""Header fields that tell a client how much it may send, and when to come back. Pure.

Source: draft-ietf-httpapi-ratelimit-headers-11 for `RateLimit` and `RateLimit-Policy` (structured
fields, RFC 9651), RFC 9110 section 10.2.3 for `Retry-After`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from ..rate_limit.gcra import Decision

_LISTS = frozenset({"RateLimit-Policy", "RateLimit"})
_LARGEST = 999_999_999_999_999
"""The largest integer of a structured field."""


def retry_after(seconds: float) -> str:
    """Whole seconds, rounded up, so that who obeys does not come too early; at least 1."""
    return str(max(math.ceil(seconds), 1))


def policy_field(name: str, decision: Decision) -> str:
    """`RateLimit-Policy`: the quota `q` is the burst, the window `w` the time in which it returns.

    They are those of the limit that was in force for the subject. A window is a whole number of
    seconds from 1; a shorter one is rounded up.
    """
    return _policy_field(name, decision.limit, decision.window)


@lru_cache(maxsize=1024)
def _policy_field(name: str, limit: int, window_s: float) -> str:
    window = max(math.ceil(round(window_s, 6)), 1)
    return f'"{name}";q={_integer(limit)};w={_integer(window)}'


def limit_field(name: str, decision: Decision) -> str:
    """`RateLimit`: `r` tokens are left for the next `t` seconds.

    After a refusal `t` is the wait, since `Retry-After` must not end before it; otherwise the time
    until the bucket is full.
    """
    seconds = decision.reset_after if decision.allowed else decision.retry_after
    left = _integer(decision.remaining)
    return f'"{name}";r={left};t={_integer(math.ceil(seconds))}'


def x_fields(decision: Decision, now: float) -> dict[str, str]:
    """`X-RateLimit-*`, as clients know them that know no others; `Reset` is in Unix seconds.

    No standard defines them; this is how GitHub, Flask-Limiter and SlowAPI fill them in.
    """
    seconds = decision.reset_after if decision.allowed else decision.retry_after
    return {
        "X-RateLimit-Limit": str(decision.limit),
        "X-RateLimit-Remaining": str(decision.remaining),
        "X-RateLimit-Reset": str(math.ceil(now + seconds)),
    }


def fields(name: str, decision: Decision, *, x_now: float | None = None) -> dict[str, str]:
    """All fields of an answer to a check of the limit of that name, which may be gone by now.

    With `x_now` (Unix seconds) `X-RateLimit-*` too.
    """
    found = {
        "RateLimit-Policy": policy_field(name, decision),
        "RateLimit": limit_field(name, decision),
    }
    if x_now is not None:
        found |= x_fields(decision, x_now)
    if not decision.allowed:
        found["Retry-After"] = retry_after(decision.retry_after)
    return found


def joined_fields(
    name: str, decision: Decision, sent: Callable[[str], str | None]
) -> dict[str, str]:
    """The fields that tell of one more limit, beside those that an answer has already.

    Both are lists (RFC 9651), and each limit adds its member. One that is told of already has
    decided nearer to the route, and so later.

    Args:
        name: of the limit.
        decision: what was decided by it.
        sent: the value that the answer has of a field.
    """
    found = {}
    for field, value in fields(name, decision).items():
        before = sent(field)
        if before is None:
            found[field] = value
        elif field in _LISTS and f'"{name}";' not in before:
            found[field] = f"{before}, {value}"
    return found


def joint_fields(
    told: Sequence[tuple[str, Decision]],
    retry_after_s: float,
    *,
    x_now: float | None = None,
) -> dict[str, str]:
    """All fields of an answer to a check of several limits, which is refused if there is a wait.

    `X-RateLimit-*` tell of the one limit that has least left.
    """
    found = {
        "RateLimit-Policy": ", ".join(policy_field(name, decision) for name, decision in told),
        "RateLimit": ", ".join(limit_field(name, decision) for name, decision in told),
    }
    if x_now is not None:
        decisions = (decision for _, decision in told)
        tightest = min(decisions, key=lambda each: (each.allowed, each.remaining))
        found |= x_fields(tightest, x_now)
    if retry_after_s:
        found["Retry-After"] = retry_after(retry_after_s)
    return found


def _integer(value: int) -> int:
    return value if 0 <= value <= _LARGEST else min(max(value, 0), _LARGEST)
