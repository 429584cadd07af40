"""Instants and spans of time as callers give them; below the faces both are seconds. Pure."""

from __future__ import annotations

import datetime as dt

from .errors import InvalidInputError

_END = 1e11
"""Seconds beyond which neither is one."""

Instant = float | dt.datetime
Duration = float | dt.timedelta


def unix(value: Instant, name: str) -> float:
    """An instant in Unix seconds; `name` names it in the error.

    Raises:
        InvalidInputError: it is none.
    """
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise InvalidInputError(f"{name} has no time zone", remedy="give an aware datetime")
        return value.timestamp()
    # The comparison holds for no NaN, and takes integers that no float can.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _END:
        raise InvalidInputError(f"{name} must be Unix seconds")
    return float(value)


def in_seconds(value: Duration, name: str) -> float:
    """A span of time in seconds; `name` names it in the error.

    Raises:
        InvalidInputError: it is none, or ends before it begins.
    """
    span = value.total_seconds() if isinstance(value, dt.timedelta) else value
    if isinstance(span, bool) or not isinstance(span, int | float) or not 0 <= span < _END:
        raise InvalidInputError(
            f"{name} must be a span of time, in seconds or as a timedelta",
            remedy=f"give 0 to {_END:.0f} seconds",
        )
    return float(span)


def in_seconds_if_given(value: Duration | None, name: str) -> float | None:
    """The same of what may be left open."""
    return None if value is None else in_seconds(value, name)
