"""The header fields of an answer to a check."""

from __future__ import annotations

from typing import Any

import pytest

from aragora_redis.rate_limit.gcra import Decision, Source, decode
from aragora_redis.rate_limit.policy import LimitPolicy
from aragora_redis.web.headers import fields, joint_fields, policy_field, retry_after

API = LimitPolicy("api", 100, 1_000_000, 200)


def decided(**facts: Any) -> Decision:
    return Decision(limit=200, source=Source.REDIS, window=2.0, **facts)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (API, '"api";q=200;w=2'),
        (LimitPolicy("a", 3, 2_000_000, 3), '"a";q=3;w=2'),
        (LimitPolicy("a", 10, 1_000_000, 5), '"a";q=5;w=1'),
        (LimitPolicy("a", 3, 1_000_000, 4), '"a";q=4;w=2'),
        (LimitPolicy("a", 5, 3_600_000_000, 5), '"a";q=5;w=3600'),
        (LimitPolicy("a", 1_000_000, 1, 10**15), '"a";q=999999999999999;w=1000'),
    ],
)
def test_quota_and_window(policy, field):
    assert policy_field(policy.name, decode(policy, 0, 0)) == field


def test_an_admitted_request_learns_what_is_left_and_until_when():
    decision = decided(allowed=True, remaining=150, retry_after=0.0, reset_after=0.5)
    assert fields("api", decision) == {
        "RateLimit-Policy": '"api";q=200;w=2',
        "RateLimit": '"api";r=150;t=1',
    }


def test_a_refused_request_may_come_back_when_the_window_ends():
    decision = decided(allowed=False, remaining=0, retry_after=1.2, reset_after=5.0)
    found = fields("api", decision)
    assert found["RateLimit"] == '"api";r=0;t=2'
    assert found["Retry-After"] == "2"


@pytest.mark.parametrize(
    ("seconds", "field"), [(0.0, "1"), (0.01, "1"), (1.0, "1"), (1.001, "2"), (59.5, "60")]
)
def test_retry_after_is_rounded_up(seconds, field):
    assert retry_after(seconds) == field


def test_x_fields_are_of_the_same_decision_and_in_unix_seconds():
    admitted = decided(allowed=True, remaining=150, retry_after=0.0, reset_after=0.5)
    assert fields("api", admitted, x_now=1000.0) == fields("api", admitted) | {
        "X-RateLimit-Limit": "200",
        "X-RateLimit-Remaining": "150",
        "X-RateLimit-Reset": "1001",
    }
    refused = decided(allowed=False, remaining=0, retry_after=7.0, reset_after=90.0)
    found = joint_fields([("api", admitted), ("api", refused)], 7.0, x_now=1000.0)
    assert (found["X-RateLimit-Remaining"], found["X-RateLimit-Reset"]) == ("0", "1007")
