"""Errors that go to another process, as those of a pool's workers do."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from aragora_redis import errors
from aragora_redis.errors import (
    CircuitFullError,
    CircuitOpenError,
    DeadlineError,
    LimitExceededError,
    Ran,
    RefusedError,
    SessionUnreadableError,
)

ERRORS = [
    LimitExceededError("api", 2.5),
    CircuitOpenError("llm", "half-open", 1.5),
    CircuitFullError("llm"),
    RefusedError("OOM", "no memory", remedy="make room"),
    DeadlineError("late", retry_after=3.0),
    SessionUnreadableError("plain"),
]


def pickled(error):
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - it is our own


@pytest.mark.parametrize("send", [copy.copy, pickled], ids=["copied", "pickled"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_it_arrives_as_it_was_sent(error, send):
    error = copy.copy(error)
    error.ran = Ran.UNKNOWN
    came = send(error)
    assert type(came) is type(error)
    assert (str(came), came.args, vars(came)) == (str(error), error.args, vars(error))
    assert came.ran is Ran.UNKNOWN


@pytest.mark.parametrize("error", ERRORS[:3], ids=lambda error: type(error).__name__)
def test_it_can_be_made_of_its_arguments(error):
    made = type(error)(*json.loads(json.dumps(error.args)))
    assert (str(made), vars(made)) == (str(error), vars(error))


def test_each_that_takes_more_than_a_message_is_tried():
    special = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.AragoraRedisError)
        and "__init__" in vars(kind)
    }
    tried = {base for error in ERRORS for base in type(error).__mro__}
    assert special - tried <= {errors.NotStartedError}
