"""What callers may give as an instant."""

from __future__ import annotations

import datetime as dt

import pytest

from aragora_redis.errors import InvalidInputError
from aragora_redis.times import unix

EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0.0),
        (1.5, 1.5),
        (-1, -1.0),
        (dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, dt.UTC), 1.5),
        (dt.datetime(1970, 1, 1, 5, 30, 1, tzinfo=EAST), 1.0),
    ],
)
def test_an_instant_in_unix_seconds(given, seconds):
    found = unix(given, "expires_at")
    assert (found, type(found)) == (seconds, float)


@pytest.mark.parametrize(
    "given",
    [
        *(None, True, "5", b"5", [5], dt.timedelta(1), dt.date(2030, 1, 1)),
        *(float("nan"), float("inf"), 1e11, 10**400),
        dt.datetime(2030, 1, 1),  # noqa: DTZ001 - that it has no zone is the point
    ],
)
def test_what_is_no_instant(given):
    with pytest.raises(InvalidInputError, match=r"^expires_at "):
        unix(given, "expires_at")
