"""What callers may give as an instant, or as a span of time."""

from __future__ import annotations

import datetime as dt

import pytest

from aragora_redis.errors import InvalidInputError
from aragora_redis.times import in_seconds, in_seconds_if_given, unix

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


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0.0),
        (30, 30.0),
        (0.25, 0.25),
        (dt.timedelta(0), 0.0),
        (dt.timedelta(days=2, hours=1, microseconds=1), 2 * 86_400 + 3600.000001),
    ],
)
def test_a_span_of_time_in_seconds(given, seconds):
    found = in_seconds(given, "ttl")
    assert (found, type(found)) == (seconds, float)
    assert in_seconds_if_given(given, "ttl") == found
    assert in_seconds_if_given(None, "ttl") is None


@pytest.mark.parametrize(
    "given",
    [
        *(True, "5", b"5", [5], 5j, dt.time(1), dt.datetime.now(dt.UTC)),
        *(-1, -1e-9, float("nan"), float("inf"), 1e11, 10**400),
        *(dt.timedelta(microseconds=-1), dt.timedelta.max),
    ],
)
def test_what_is_no_span_of_time(given):
    for read in in_seconds, in_seconds_if_given:
        with pytest.raises(InvalidInputError, match=r"^ttl must be a span of time, in seconds"):
            read(given, "ttl")
    with pytest.raises(InvalidInputError):
        in_seconds(None, "ttl")  # type: ignore[arg-type]  # what may not be left open
