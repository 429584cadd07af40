"""How errors are answered, without repeating what a client sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aragora_redis import errors
from aragora_redis.errors import Ran
from aragora_redis.gateway.problems import problem_of_faults
from aragora_redis.web.problems import MEDIA_TYPE, problem_of, problem_outside
from aragora_redis.web.starlette.asgi import response_of


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.UnknownPolicyError("m"), 404, "unknown-policy"),
        (errors.InvalidInputError("m"), 422, "invalid-input"),
        (errors.LevelUnavailableError("m"), 422, "level-unavailable"),
        (errors.LimitUnavailableError("m"), 503, "limit-unavailable"),
        (errors.LinkDownError("m"), 503, "link-down"),
        (errors.RefusedError("OOM", "m"), 503, "refused"),
        (errors.NotReadyError("m"), 503, "not-ready"),
        (errors.StaleError("m"), 503, "stale"),
        (errors.OutcomeUnknownError("m"), 503, "outcome-unknown"),
        (errors.UnexpectedReplyError("m"), 503, "unexpected-reply"),
        (errors.LayoutError("m"), 503, "layout"),
        (errors.LabError("m"), 500, "lab"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_table(error, status, kind):
    problem = problem_of(error)
    assert (problem.status, problem.kind, problem.ran) == (status, kind, error.ran)
    assert ("Retry-After" in problem.headers) == (status == 503)


def test_a_problem_says_what_to_do_and_whether_it_ran():
    error = errors.OutcomeUnknownError("no answer came", remedy="ask again")
    response = response_of(problem_of(error))
    assert response.headers["content-type"] == MEDIA_TYPE
    assert json.loads(bytes(response.body)) == {
        "type": "urn:aragora-redis:outcome-unknown",
        "title": "Outcome unknown",
        "status": 503,
        "detail": "no answer came",
        "remedy": "ask again",
        "ran": Ran.UNKNOWN,
    }


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errors.LinkDownError("10.0.0.7:6379 is away"), "try again"),
        (errors.OutcomeUnknownError("10.0.0.7:6379 gave no answer"), "look before"),
        (errors.UnexpectedReplyError("10.0.0.7:6379 says x"), "look before"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_nobody_outside_is_told_to_repeat_what_may_have_run(error, remedy):
    problem = problem_outside(error)
    assert remedy in problem.remedy
    assert problem.ran is error.ran
    assert "10.0.0.7" not in problem.detail + problem.remedy


@pytest.mark.parametrize(
    ("error", "kind", "wait"),
    [
        (errors.CircuitOpenError("db.internal_8080", "forced-open", 2.5), "circuit-open", "3"),
        (errors.CircuitFullError("db.internal_8080"), "circuit-full", "1"),
    ],
    ids=["open", "full"],
)
def test_nobody_outside_is_told_what_a_service_calls(error, kind, wait):
    """Circuits are named after hosts."""
    problem = problem_outside(error)
    said = str(problem.document())
    assert not any(word in said for word in ("db.internal", "forced", "max_concurrent"))
    assert (problem.status, problem.kind, problem.ran) == (503, kind, Ran.NO)
    assert problem.headers == {"Retry-After": wait}


def test_the_wait_of_an_outage_is_passed_on():
    assert problem_of(errors.OutageError("m", retry_after=2.5)).headers["Retry-After"] == "3"


def test_faults_name_the_field_and_not_the_value():
    faults: list[dict[str, Any]] = [
        {"type": "int_type", "loc": ("body", "cost"), "msg": "Not an integer", "input": "s3cret"},
        {"type": "extra_forbidden", "loc": ("body", "subjet"), "msg": "", "input": "s3cret"},
        {"type": "extra_forbidden", "loc": ("body", "eyJ0.S3"), "msg": "", "input": 1},
        {"type": "json_invalid", "loc": ("body", 0), "msg": "", "input": "s3cret"},
    ]
    assert problem_of_faults(faults).detail == (
        "cost: Not an integer; an unknown field 'subjet'; an unknown field; the body is not JSON"
    )


def test_a_long_list_of_faults_is_cut():
    faults: list[dict[str, Any]] = [
        {"type": "missing", "loc": ("body", f"f{n}"), "msg": "missing"} for n in range(9)
    ]
    assert problem_of_faults(faults).detail.endswith("; and 4 more")
