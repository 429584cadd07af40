"""Hot routes: the framework and who is in front of it give the same answers, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateways import client_of
from tests.unit.test_gateway_http import BAD_BODIES, NOT_JSON

from aragora_redis.errors import NotReadyError, OutageError
from aragora_redis.gateway import hot
from aragora_redis.policies import parse_policies
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState
from aragora_redis.testing import FakeClock

GATEWAY, KEY = "gateway-token-0001", "0123456789abcdef" * 4
ENV = {"ARAGORA_GATEWAY_TOKEN": GATEWAY, "ARAGORA_JWT_SECRET": KEY}
POLICIES = """
[limits.api]
rate = "100/second"
burst = 200
[limits.slow]
rate = "3 per hour"
burst = 2
[limits.shown]
rate = "1 per hour"
shadow = true
[limits.beside]
rate = "9 per minute"
co_locate = "api"
"""
CHECK, ALL, ASK = "/v1/limits/api/check", "/v1/limits/check", "/v1/tokens/check"
JSON = {"Content-Type": "application/json"}


class Both:
    """Two gateways that differ in who calls their hot routes, at the same instant."""

    def __init__(self, states, clock):
        self.states = states
        self.clock = clock
        self.clients: list[httpx.AsyncClient] = []
        self.called = 0

    async def post(self, path, content, headers=None):
        answers = [
            await client.post(path, content=content, headers=JSON | (headers or {}))
            for client in self.clients
        ]
        ours, theirs = ((one.status_code, sorted(one.headers.raw), one.content) for one in answers)
        assert ours == theirs
        return answers[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both():
    with pytest.MonkeyPatch.context() as patch:
        clock = FakeClock()
        states = [
            SharedState(from_env(ENV), policies=parse_policies(POLICIES, source="x"), clock=clock)
            for _ in range(2)
        ]
        made = Both(states, clock)
        called = hot._Endpoint.called

        def counted(*given):
            made.called += (answer := called(*given)) is not None
            return answer

        patch.setattr(hot._Endpoint, "called", counted)
        async with (
            client_of(states[0], GATEWAY) as ours,
            client_of(states[1], GATEWAY, hot=False) as theirs,
        ):
            for state in states:
                await state.tokens.revoke("gone", expires_at=clock.wall() + 60, reason="logout")
                await state.tokens.revoke_user("42", issued_before=clock.wall())
            made.clients = [ours, theirs]
            yield made


def text(**body: Any) -> str:
    return json.dumps(body)


def one(policy, **given):
    return {"policy": policy, "subject": "a", **given}


GOOD = [
    (CHECK, text(subject="ip:203.0.113.9", cost=5), 200),
    (CHECK, '{"subject": "twice", "subject": "é\\u00e9 \U0001f600", "cost": 2, "cost": 1}', 200),
    (CHECK, text(subject="own", limit={"rate": "3 per 7 seconds", "burst": 11}), 200),
    (CHECK, text(subject="a", limit=None, at=None), 200),
    (CHECK, text(subject="a", cost=0, wait=0), 200),
    ("/v1/limits/slow/check", text(subject="a", cost=2), 200),
    ("/v1/limits/slow/check", text(subject="a"), 429),
    ("/v1/limits/slow/check", text(subject="a", wait=0.5), 429),
    ("/v1/limits/slow/check", text(subject="a", cost=3), 422),
    ("/v1/limits/shown/check", text(subject="a"), 200),
    ("/v1/limits/shown/check", text(subject="a"), 200),
    ("/v1/limits/beside/check", text(subject="a", at="b"), 200),
    ("/v1/limits/beside/check", text(subject="a"), 422),
    ("/v1/limits/%61pi/check?x=1", text(subject="a"), 200),
    ("/v1/limits/n%C3%B6pe/check", text(subject="a"), 404),
    (ALL, text(checks=[one("api", cost=2), one("slow"), one("shown")]), 429),
    (ALL, text(checks=[one("api", cost=2), one("beside")], wait=1), 200),
    (ALL, text(checks=[one("nope")]), 404),
    (ASK, text(jti="gone"), 200),
    (ASK, text(jti="here"), 200),
    (ASK, text(claims={"sub": "42", "iat": 1, "nested": [{"x": 1.5e3}]}), 200),
    (ASK, text(claims={"iat": 1}), 422),
    (ASK, text(token=jwt.encode({"jti": "gone", "exp": 2**31}, KEY)), 200),
    (ASK, text(token="a.b.c"), 422),
]


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_as_it_should_be_is_answered_in_front(both):
    for path, body, status in GOOD:  # in this order: what is taken is refused to the next
        before = both.called
        assert (await both.post(path, body)).status_code == status, (path, body)
        assert both.called == before + 1, (path, body)


LEFT = [
    (CHECK, "", {}),
    (CHECK, text(subject="a").encode("utf-16"), {}),
    (CHECK, b"\xef\xbb\xbf" + text(subject="a").encode(), {}),
    (CHECK, text(subject="a"), {"Content-Type": "text/plain"}),
    (CHECK, text(subject="a"), {"Authorization": "Bearer nobody"}),
    (CHECK, text(subject="a"), {"Origin": "http://evil.example"}),
    (CHECK, text(subject="a"), {"Host": "evil.example"}),
    ("/v1/limits//check", text(subject="a"), {}),
    ("/v1/limits/a/b/check", text(subject="a"), {}),
    ("/v1/limits/a%2Fb/check", text(subject="a"), {}),
    ("/v1/limits/api/check/", text(subject="a"), {}),
    (f"/v1/limits/{'a' * 120}/check", text(subject="a"), {}),
    ("/v1/limits/api/reset", text(subject="a"), {}),
    ("/v1/circuits/check", text(subject="a"), {}),
    (CHECK, b"x" * 70_000, {}),
]


@pytest.mark.parametrize(("path", "body", "headers"), LEFT, ids=range(len(LEFT)))
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_not_is_left_to_the_framework(both, path, body, headers):
    before = both.called
    await both.post(path, body, headers)
    assert both.called == before


@pytest.mark.asyncio(loop_scope="module")
async def test_garbage_is_answered_alike(both):
    for path in (CHECK, ALL, ASK):
        for body in (*BAD_BODIES[path], *NOT_JSON):
            assert (await both.post(path, body.encode())).status_code == 422
        for types in ("Application/JSON; charset=utf-8", "application/json;charset=latin-1"):
            await both.post(path, text(subject="a", jti="b"), {"Content-Type": types})


@pytest.mark.parametrize(
    "error", [OutageError("x", retry_after=3.2), NotReadyError("y"), RuntimeError("s3cret")]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_errors_are_told_alike(both, error):
    def fail(*_, **_named):
        raise error

    with pytest.MonkeyPatch.context() as patch:
        for state in both.states:
            patch.setattr(state.rate_limits, "check", fail)
            patch.setattr(state.tokens, "verdict", fail)
        for path, body in ((CHECK, text(subject="a")), (ASK, text(jti="j"))):
            answer = await both.post(path, body)
            assert answer.status_code == (500 if isinstance(error, RuntimeError) else 503)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(
    ["subject", "cost", "at", "limit", "wait", "checks", "jti", "claims", "token", "sub", "iat"]
)
_likely = st.sampled_from(["a", 1, 0, 0.0, 2, {"jti": "gone"}, {"rate": "1/second", "burst": 3}])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from([CHECK, ALL, ASK]),
    pairs=st.lists(st.tuples(_names, _likely | _values), max_size=4),
    ascii_only=st.booleans(),
)
@pytest.mark.asyncio(loop_scope="module")
async def test_any_object_is_answered_alike(both, path, pairs, ascii_only):
    """Names may come twice, as no dict would have them."""
    members = ", ".join(
        f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=ascii_only)}" for name, value in pairs
    )
    both.clock.advance(60)
    await both.post(path, f"{{{members}}}".encode("utf-8", "surrogatepass"))
