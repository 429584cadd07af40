"""Arguments of wrong types and sizes are a typed error each, before anything is sent."""

from __future__ import annotations

import time

import pytest

from aragora_redis import Rate
from aragora_redis.errors import InvalidInputError
from aragora_redis.rate_limit.policy import unknown_limit
from aragora_redis.testing import memory_state

SURROGATE = "\ud800"
HOUR = 3600


def later():
    return time.time() + HOUR


CALLS = {
    "a reason that cannot be sent": lambda s: s.tokens.revoke(
        "a", expires_at=later(), reason=SURROGATE
    ),
    "no reason": lambda s: s.tokens.revoke("a", expires_at=later(), reason=None),
    "a jti that is no text": lambda s: s.tokens.revoke(5, expires_at=later()),
    "a jti of bytes": lambda s: s.tokens.revoke(b"x", expires_at=later()),
    "a level by its name": lambda s: s.tokens.revoke("a", expires_at=later(), level="primary"),
    "a level that is true": lambda s: s.tokens.revoke("a", expires_at=later(), level=True),
    "a user that is no text": lambda s: s.tokens.revoke_user(5),
    "a session of a user that cannot be sent": lambda s: s.sessions.create(user=SURROGATE),
    "a session of a number": lambda s: s.sessions.create(user=5),
    "a session of nobody": lambda s: s.sessions.create(user=""),
    "a list for bytes": lambda s: s.sessions.of_user(b"x"),
    "an end for a list": lambda s: s.sessions.end_user([]),
    "a user with a NUL": lambda s: s.sessions.of_user("a\0b"),
    "a subject that is no text": lambda s: s.rate_limits.check("api", 5),
    "a policy that is no text": lambda s: s.rate_limits.check([], "u"),
    "a reason of a force": lambda s: s.circuits.force("c", "open", reason=SURROGATE),
    "a reason that is none": lambda s: s.circuits.force("c", "open", reason=None),
    "a state that is a list": lambda s: s.circuits.force("c", ["open"]),
    "a name of dots": lambda s: s.circuits.force("..", "open"),
}


@pytest.mark.parametrize("what", CALLS)
async def test_it_is_refused_by_name(what):
    async with memory_state() as state:
        with pytest.raises(InvalidInputError) as refused:
            await CALLS[what](state)
        assert refused.value.remedy


@pytest.mark.parametrize("claims", [None, "x", [], {"jti": 5}, {"jti": ["a"]}, {"sub": b"x"}])
async def test_claims_that_are_none(claims):
    async with memory_state() as state:
        with pytest.raises(InvalidInputError):
            state.tokens.is_revoked(claims)


@pytest.mark.parametrize(
    "change",
    [
        {"unset": 5},
        {"unset": None},
        {"unset": [5]},
        {"version": "x"},
        {"version": 1.5},
        {"version": float("nan")},
        {"version": True},
        {"version": [1]},
        {"set": {"a": SURROGATE}},
        {"set": {SURROGATE: 1}},
        {"set": {"a": float("inf")}},
    ],
    ids=repr,
)
async def test_changes_of_a_session_that_are_none(change):
    async with memory_state() as state:
        made = await state.sessions.create(user="42", data={"a": 1})
        with pytest.raises(InvalidInputError):
            await state.sessions.update(made, **change)
        found = await state.sessions.get(made.id)
        assert found is not None
        assert found.data == {"a": 1}


@pytest.mark.parametrize("grace", [float("nan"), float("inf"), -1, "x", None, True])
async def test_a_grace_that_is_no_time(grace):
    async with memory_state() as state:
        made = await state.sessions.create(user="42")
        with pytest.raises(InvalidInputError):
            await state.sessions.rotate(made, grace=grace)


@pytest.mark.parametrize("duration", [float("nan"), -1, "x", None, True])
async def test_a_duration_that_is_no_time(duration):
    async with memory_state() as state:
        permit = await state.circuits["c"].acquire()
        with pytest.raises(InvalidInputError):
            await state.circuits["c"].report(permit, ok=True, duration=duration)


@pytest.mark.parametrize("name", [[], None, "", ".", "..", "a b"])
async def test_a_circuit_that_cannot_be_named(name):
    async with memory_state() as state:
        with pytest.raises(InvalidInputError):
            state.circuits[name]


@pytest.mark.parametrize("message", [None, 7, 0.5, [b"x"], b"", b"\xff returned"])
async def test_a_message_that_is_none_changes_no_limit(message):
    async with memory_state() as state:
        channel = state.rate_limits._decider.channel
        state.rate_limits.on_push([b"message", channel, message])
        state.circuits.on_push([b"message", state.circuits.channel, message])
        assert (await state.rate_limits.check("api", "a")).allowed


TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.sEcReTsIgNaTuRe0123456789-and-more"


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda state: state.rate_limits.policy(TOKEN), "there is 'api'"),
        (lambda state: state.rate_limits.limit(TOKEN), "there is 'api'"),
        (lambda state: state.circuits[TOKEN], "not a name for a circuit"),
        (lambda state: state.circuits[7], "text, not int"),
        (lambda _: Rate(TOKEN), "not a rate"),
    ],
)
async def test_what_may_be_a_token_in_the_wrong_place_is_not_repeated(ask, told):
    async with memory_state("[limits.api]\nrate = '1 per hour'\n") as state:
        with pytest.raises(InvalidInputError, match=told) as refused:
            ask(state)
    assert TOKEN[:20] not in str(refused.value)


def test_many_limits_are_not_all_listed():
    told = str(unknown_limit(f"limit-{n:02}" for n in range(12)))
    assert "there are 'limit-00', " in told
    assert "'limit-09', and 2 more" in told
    assert "none is defined" in str(unknown_limit([]))
