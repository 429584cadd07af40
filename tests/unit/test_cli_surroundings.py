from __future__ import annotations

from aragora_redis.lab import State
from aragora_redis.ops.changes import (
    NodeChanged,
    Picture,
    PoliciesChanged,
    PrimaryChanged,
    changes,
)
from aragora_redis.ops.surroundings import surroundings


def test_what_leads_elsewhere_is_left_out_and_named():
    around = surroundings(
        {
            "ARAGORA_REDIS_URL": "redis://elsewhere",
            "ARAGORA_REDIS_TLS": "true",
            "ARAGORA_REDIS_DB": "",
            "ARAGORA_TOKENS_REDIS_URL": "redis://elsewhere",
            "ARAGORA_SESSIONS_REDIS_DEADLINE": "",
            "ARAGORA_ADMIN_TOKEN": "x" * 20,
            "ARAGORA_REDIS_DEADLINE": "100 ms",
            "ARAGORA_POLICIES": "mine.toml",
            "HOME": "/home/me",
        }
    )
    assert around.ignored == (
        "ARAGORA_ADMIN_TOKEN",
        "ARAGORA_REDIS_TLS",
        "ARAGORA_REDIS_URL",
        "ARAGORA_TOKENS_REDIS_URL",
    )
    gateway = around.of_gateway({"ARAGORA_REDIS_URL": "redis://lab"}, 8081)
    assert gateway == {
        "ARAGORA_REDIS_URL": "redis://lab",
        "ARAGORA_REDIS_DEADLINE": "100 ms",
        "ARAGORA_POLICIES": "mine.toml",
        "HOME": "/home/me",
        "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
        "ARAGORA_INSTANCE_ID": "gateway-8081",
    }


def test_the_users_own_choice_of_policy_and_name_counts():
    around = surroundings(
        {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "false", "ARAGORA_INSTANCE_ID": "laptop"}
    )
    gateway = around.of_gateway({}, 8080)
    assert gateway["ARAGORA_RATE_LIMIT_FAIL_OPEN"] == "false"
    assert gateway["ARAGORA_INSTANCE_ID"] == "laptop-8080"
    blank = surroundings({"ARAGORA_RATE_LIMIT_FAIL_OPEN": " "}).of_gateway({}, 8080)
    assert blank["ARAGORA_RATE_LIMIT_FAIL_OPEN"] == "true"


def test_only_what_changed_is_told():
    before = Picture({"redis-0": State.RUNNING, "redis-1": State.RUNNING}, "redis-0")
    after = Picture({"redis-0": State.DEAD, "redis-1": State.RUNNING}, "redis-1")
    assert list(changes(before, before)) == []
    assert list(changes(before, after)) == [
        NodeChanged("redis-0", State.DEAD, State.RUNNING),
        PrimaryChanged("redis-1", "redis-0"),
    ]


def test_a_policies_file_that_is_refused_is_told_once_and_when_it_is_mended():
    good = Picture({}, None)
    bad = Picture({}, None, "line 3 is wrong")
    assert list(changes(good, bad)) == [PoliciesChanged("line 3 is wrong")]
    assert list(changes(bad, bad)) == []
    assert list(changes(bad, good)) == [PoliciesChanged(None)]
