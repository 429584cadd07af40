from __future__ import annotations

import pytest

from aragora_redis.errors import InvalidInputError
from aragora_redis.rate_limit.policy import EXACT, LimitPolicy, OnOutage, parse_rate


@pytest.mark.parametrize(
    ("text", "count", "period_us"),
    [
        ("100/second", 100, 1_000_000),
        ("3 per 2 seconds", 3, 2_000_000),
        ("1000 per minute", 1000, 60_000_000),
        ("1 per day", 1, 86_400_000_000),
        ("700000/second", 700_000, 1_000_000),
        ("5/s", 5, 1_000_000),
        (" 5 / 10s ", 5, 10_000_000),
        ("9 per 10 sec", 9, 10_000_000),
        ("2/m", 2, 60_000_000),
        ("2 per 3 hours", 2, 10_800_000_000),
        ("1/250ms", 1, 250_000),
        ("1 per millisecond", 1, 1_000),
    ],
)
def test_rate_is_read_as_written(text: str, count: int, period_us: int) -> None:
    assert parse_rate(text) == (count, period_us)


@pytest.mark.parametrize(
    "text",
    ["", "100", "100/", "/second", "1.5/second", "-1/second", "100 second", "100/fortnight",
     "100/Second", "100per second", "1e3/s", "\u0661/second", "100/second extra", "9" * 17 + "/s"],
)  # fmt: skip
def test_what_is_no_rate_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r'not a rate.*"3 per 2 seconds".*milliseconds'):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5/s", "5 per second"),
        ("60 per minute", "1 per second"),
        ("100000 per minute", "100000 per minute"),
        ("36 per hour", "36 per hour"),
        ("1 per day", "1 per day"),
        ("3 per 2 seconds", "90 per minute"),
        ("1 per 7 seconds", "1 per 7 seconds"),
        ("5 per 7 days", "5 per 7 days"),
        ("1/250ms", "4 per second"),
        ("1000 per 7 ms", "1000000 per 7 seconds"),
    ],
)
def test_a_rate_is_told_exactly_in_words_that_can_be_read_again(text: str, said: str) -> None:
    limit = LimitPolicy("a", *parse_rate(text), burst=1)
    assert limit.rate == said
    again = LimitPolicy("a", *parse_rate(said), burst=1)
    assert (again.count, again.period_us) == (limit.count, limit.period_us)


@pytest.mark.parametrize("text", ["0/second", "1 per 0 seconds"])
def test_zero_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="zero"):
        parse_rate(text)


def test_rate_is_brought_to_lowest_terms() -> None:
    policy = LimitPolicy("api", 700_000, 1_000_000, 1_400_000)
    assert (policy.count, policy.period_us, policy.burst) == (7, 10, 1_400_000)
    assert policy.full == 14_000_000
    assert policy.interval == pytest.approx(1 / 700_000)


def test_hash_follows_the_parameters_and_not_their_spelling() -> None:
    one = LimitPolicy("api", 100, 1_000_000, 200)
    assert one.hash == LimitPolicy("api", 200, 2_000_000, 200).hash == "e858774855f3c797"
    others = [
        LimitPolicy("api", 101, 1_000_000, 200),
        LimitPolicy("api", 100, 1_000_000, 201),
        LimitPolicy("api", 100, 1_000_000, 200, OnOutage.FAIL_OPEN),
        LimitPolicy("api", 100, 1_000_000, 200, OnOutage.FAIL_CLOSED),
    ]
    assert len({one.hash, *(other.hash for other in others)}) == 5


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a/b", "{a}", "ä", "a\n"])
def test_name_becomes_part_of_a_key(name: str) -> None:
    with pytest.raises(InvalidInputError, match="not a name"):
        LimitPolicy(name, 1, 1, 1)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, -1)])
def test_numbers_start_at_one(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        LimitPolicy("api", *numbers)


def test_what_cannot_be_exact_is_refused_with_what_would_fit() -> None:
    day = 86_400_000_000
    fits = (EXACT - 1) // day
    assert LimitPolicy("api", 1, day, fits).full < EXACT
    with pytest.raises(InvalidInputError, match=f"burst of up to {fits} fits"):
        LimitPolicy("api", 1, day, fits + 1)
    with pytest.raises(InvalidInputError, match=r"below 52124 days"):
        LimitPolicy("api", 1, EXACT, 1)
    with pytest.raises(InvalidInputError, match="too large"):
        LimitPolicy("api", EXACT + 1, 1_000, 1)
