"""Instants and spans of time as callers give them; below the faces both are seconds. Pure."""

from __future__ import annotations

import datetime as dt

from .errors import InvalidInputError

_END = 1e11
"""Unix seconds beyond which an instant is none."""

Instant = float | dt.datetime


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
