"""The HTTP service over an in-process state: statuses, bodies, and who may do what."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

import jwt
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateways import client_of

from aragora_redis.errors import NotReadyError, OutageError, OutcomeUnknownError, StaleError
from aragora_redis.gateway.app import create_app
from aragora_redis.settings import HttpLimits, from_env
from aragora_redis.state.revocations.receipt import Level, Receipt
from aragora_redis.state.shared import SharedState

BODY_LIMIT = HttpLimits().max_body
GATEWAY, ADMIN, KEY = "gateway-token-0001", "admin-token-000001", "0123456789abcdef" * 4
TOKENS = {"ARAGORA_GATEWAY_TOKEN": GATEWAY, "ARAGORA_ADMIN_TOKEN": ADMIN}
JWT = {"ARAGORA_JWT_SECRET": KEY}
POLICIES = """
[limits.api]
rate = "100/second"
burst = 200

[limits.slow]
rate = "1 per hour"
burst = 1
"""
CHECK_ALL = "/v1/limits/check"
CHECK, RESET = "/v1/limits/api/check", "/v1/limits/api/reset"
REVOKE, ASK, REFRESH = "/v1/tokens/revoke", "/v1/tokens/check", "/v1/tokens/refresh"
BEGIN = "/v1/tokens/refresh/begin"
POSTS = [CHECK_ALL, CHECK, RESET, REVOKE, ASK, REFRESH, BEGIN]


@pytest.fixture
async def open_gateway(tmp_path):
    """Makes a state and a client of its gateway, with the environment given."""
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    async with AsyncExitStack() as opened:

        async def make(token=ADMIN, **env):
            state = SharedState(from_env({"ARAGORA_POLICIES": str(policies)} | env))
            return state, await opened.enter_async_context(client_of(state, token))

        yield make


@pytest.fixture
async def gateway(open_gateway):
    return await open_gateway(**TOKENS, **JWT)


@pytest.fixture
def state(gateway):
    return gateway[0]


@pytest.fixture
def client(gateway):
    return gateway[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def common_client(tmp_path_factory):
    """For requests that change nothing: to make an application takes longer than to ask it."""
    policies = tmp_path_factory.mktemp("policies") / "policies.toml"
    policies.write_text(POLICIES)
    state = SharedState(from_env({"ARAGORA_POLICIES": str(policies), **TOKENS, **JWT}))
    async with client_of(state, ADMIN) as client:
        yield client


def expiry():
    return int(time.time()) + 3600


def problem(response, status):
    """The problem that a response is, checked for its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "remedy", "ran"}
    assert body["status"] == status
    return body


# --- limits -----------------------------------------------------------------------------


async def test_an_admitted_check(client):
    response = await client.post(CHECK, json={"subject": "ip:203.0.113.9", "cost": 5})
    assert response.status_code == 200
    assert response.json() == {
        "allowed": True,
        "limit": 200,
        "remaining": 195,
        "retry_after": 0.0,
        "reset_after": pytest.approx(0.05),
        "source": "local",
        "shadow": False,
    }
    assert response.headers["RateLimit-Policy"] == '"api";q=200;w=2'
    assert response.headers["RateLimit"] == '"api";r=195;t=1'
    assert "Retry-After" not in response.headers


async def test_a_refused_check(client):
    path = "/v1/limits/slow/check"
    assert (await client.post(path, json={"subject": "a"})).status_code == 200
    response = await client.post(path, json={"subject": "a"})
    assert response.status_code == 429
    assert response.json()["allowed"] is False
    assert 3590 < response.json()["retry_after"] <= 3600
    assert response.headers["RateLimit"].startswith('"slow";r=0;t=')
    assert 3590 < int(response.headers["Retry-After"]) <= 3600


async def test_a_look_takes_nothing(client):
    path = "/v1/limits/slow/check"
    for _ in range(2):
        assert (await client.post(path, json={"subject": "a", "cost": 0})).status_code == 200


async def test_reset(client):
    path = "/v1/limits/slow/check"
    await client.post(path, json={"subject": "a"})
    response = await client.post("/v1/limits/slow/reset", json={"subject": "a"})
    assert (response.status_code, response.json()) == (200, {"reset": True})
    assert (await client.post(path, json={"subject": "a"})).status_code == 200


async def test_an_unknown_policy(client):
    body = problem(await client.post("/v1/limits/nope/check", json={"subject": "a"}), 404)
    assert body["type"] == "urn:aragora-redis:unknown-policy"
    assert "ARAGORA_POLICIES" in body["remedy"]


# --- revoking ---------------------------------------------------------------------------


async def test_revoke_and_ask(client):
    body = {"jti": "a", "expires_at": expiry(), "reason": "logout"}
    response = await client.post(REVOKE, json=body)
    assert response.status_code == 200
    assert response.json() == {
        "level": "local",
        "outbox": "memory",
        "acknowledged": 0,
        "required": 0,
    }
    assert (await client.post(ASK, json={"jti": "a"})).json() == {
        "revoked": True,
        "reason": "logout",
    }
    assert (await client.post(ASK, json={"jti": "b"})).json() == {"revoked": False}


async def test_a_user_learns_which_tokens_are_valid_again(client):
    response = await client.post(REVOKE, json={"user": "42"})
    assert response.status_code == 200
    assert response.json()["not_before"] > time.time()
    now = int(time.time())
    token = jwt.encode({"jti": "t", "sub": "42", "iat": now, "exp": now + 60}, KEY)
    assert (await client.post(ASK, json={"token": token})).json() == {
        "revoked": True,
        "reason": "user",
    }


@pytest.mark.parametrize("instant", ["2033-05-18T03:33:20Z", "2033-05-18t05:33:20.5+02:00", 2e9])
async def test_instants(client, instant):
    response = await client.post(REVOKE, json={"jti": "a", "expires_at": instant})
    assert response.status_code == 200


async def test_a_level_that_is_reached_late_is_accepted_only(state, client, monkeypatch):
    async def reach(*_, level, **__):
        return Receipt(Level.PRIMARY, level, acknowledged=1, required=2)

    monkeypatch.setattr(state.tokens, "revoke", reach)
    body = {"jti": "a", "expires_at": expiry()}
    late = await client.post(REVOKE, json=body | {"level": "replicated"})
    assert late.status_code == 202
    assert late.json()["level"] == "primary"
    assert (late.json()["acknowledged"], late.json()["required"]) == (1, 2)
    assert (await client.post(REVOKE, json=body | {"level": "primary"})).status_code == 200


@pytest.mark.parametrize("level", ["primary", "replicated", "fsynced"])
async def test_a_level_that_cannot_be_given(client, level):
    body = {"jti": "a", "expires_at": expiry(), "level": level}
    found = problem(await client.post(REVOKE, json=body), 422)
    assert found["type"] == "urn:aragora-redis:level-unavailable"
    assert "local" in found["remedy"]
    assert (await client.post(ASK, json={"jti": "a"})).json() == {"revoked": False}


# --- whole tokens -----------------------------------------------------------------------


@pytest.mark.parametrize("claims", [{"jti": "t"}, {"sub": "42"}], ids=["jti", "no jti"])
async def test_a_token_is_revoked_by_itself(client, claims):
    token = jwt.encode(claims | {"exp": expiry()}, KEY)
    other = jwt.encode(claims | {"exp": expiry(), "jti": "other"}, KEY)
    assert (await client.post(REVOKE, json={"token": token})).status_code == 200
    assert (await client.post(ASK, json={"token": token})).json()["revoked"] is True
    assert (await client.post(ASK, json={"token": other})).json()["revoked"] is False


async def test_a_token_and_its_jti_are_one(client):
    token = jwt.encode({"jti": "t", "exp": expiry()}, KEY)
    await client.post(REVOKE, json={"token": token})
    assert (await client.post(ASK, json={"jti": "t"})).json()["revoked"] is True


async def test_a_token_without_expiry_needs_one(client):
    token = jwt.encode({"jti": "t"}, KEY)
    assert "expires" in problem(await client.post(REVOKE, json={"token": token}), 422)["detail"]
    response = await client.post(REVOKE, json={"token": token, "expires_at": expiry()})
    assert response.status_code == 200


@pytest.mark.parametrize("ago", [60, 86_400])
async def test_revoking_an_expired_token_is_fine(client, ago):
    token = jwt.encode({"jti": "t", "exp": int(time.time()) - ago}, KEY)
    response = await client.post(REVOKE, json={"token": token})
    assert (response.status_code, response.json()["level"]) == (200, "local")


async def test_a_token_that_outlives_what_may_be_kept_is_revoked_all_the_same(client):
    token = jwt.encode({"jti": "t", "exp": int(time.time()) + 20 * 366 * 86_400}, KEY)
    assert (await client.post(REVOKE, json={"token": token})).status_code == 200
    assert (await client.post(ASK, json={"token": token})).json()["revoked"]


async def test_asking_about_an_expired_token(client):
    token = jwt.encode({"jti": "t", "exp": 1}, KEY)
    found = problem(await client.post(ASK, json={"token": token}), 422)
    assert found["detail"] == "the token is not valid: it has expired"


@pytest.mark.parametrize("path", [REVOKE, ASK])
async def test_a_forged_token_is_not_repeated(client, path):
    token = jwt.encode({"jti": "t", "exp": expiry()}, KEY[::-1])
    response = await client.post(path, json={"token": token})
    assert "signature" in problem(response, 422)["detail"]
    assert token not in response.text


@pytest.mark.parametrize("path", [REVOKE, ASK])
async def test_without_a_key_the_variable_is_named(open_gateway, path):
    _, client = await open_gateway()
    body = problem(await client.post(path, json={"token": "a.b.c"}), 422)
    assert "ARAGORA_JWT_SECRET" in body["remedy"]


# --- outages ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [NotReadyError("not yet"), StaleError("too old")])
async def test_who_cannot_judge_says_503_and_never_401(state, client, monkeypatch, error):
    def judge(_):
        raise error

    monkeypatch.setattr(state.tokens, "verdict", judge)
    response = await client.post(ASK, json={"jti": "a"})
    assert problem(response, 503)["ran"] == "no"
    assert response.headers["Retry-After"] == "1"


async def test_several_limits_are_checked_as_one(client):
    api, slow = {"policy": "api", "subject": "a", "cost": 2}, {"policy": "slow", "subject": "a"}
    response = await client.post(CHECK_ALL, json={"checks": [api, slow]})
    assert response.status_code == 200
    told = response.json()
    assert (told["allowed"], told["retry_after"]) == (True, 0)
    assert [said["remaining"] for said in told["decisions"]] == [198, 0]
    assert response.headers["RateLimit-Policy"] == '"api";q=200;w=2, "slow";q=1;w=3600'
    assert "Retry-After" not in response.headers
    look = {"checks": [api | {"cost": 0}, slow | {"cost": 0}]}
    response = await client.post(CHECK_ALL, json=look)
    assert response.status_code == 429
    assert [said["allowed"] for said in response.json()["decisions"]] == [True, False]
    assert int(response.headers["Retry-After"]) >= 3599
    assert response.headers["RateLimit"].startswith('"api";r=')
    for _ in range(2):
        response = await client.post(CHECK_ALL, json={"checks": [api, slow]})
        assert response.status_code == 429
    assert response.json()["decisions"][0] is None, "it was not asked any more"
    assert response.headers["RateLimit"].startswith('"slow";r=0;t=')
    problem(await client.post(CHECK_ALL, json={"checks": [slow | {"policy": "x"}]}), 404)


@pytest.mark.parametrize(
    ("error", "ran", "wait"),
    [(OutcomeUnknownError("lost"), "unknown", "1"), (OutageError("x", retry_after=3.2), "no", "4")],
)
async def test_a_reset_in_an_outage(state, client, monkeypatch, error, ran, wait):
    async def reset(*_, **_named):
        raise error

    monkeypatch.setattr(state.rate_limits, "reset", reset)
    response = await client.post(RESET, json={"subject": "a"})
    assert problem(response, 503)["ran"] == ran
    assert response.headers["Retry-After"] == wait


async def test_a_fault_of_ours_is_a_problem_too(state, client, monkeypatch):
    async def fail(*_, **_named):
        raise RuntimeError("s3cret")

    monkeypatch.setattr(state.rate_limits, "check", fail)
    response = await client.post(CHECK, json={"subject": "a"})
    assert problem(response, 500)["ran"] == "unknown"
    assert "s3cret" not in response.text


# --- bodies -----------------------------------------------------------------------------

BAD_BODIES = {
    CHECK: [
        "{}",
        '{"subject": 1}',
        '{"subject": ""}',
        '{"subject": "a\\u0000"}',
        '{"subject": "\\ud800"}',
        json.dumps({"subject": "s3cret" * 200}),
        '{"subject": "a", "cost": "1"}',
        '{"subject": "a", "cost": true}',
        '{"subject": "a", "cost": 1.0}',
        '{"subject": "a", "cost": -1}',
        '{"subject": "a", "cost": 201}',
        '{"subject": "a", "cost": 1000000000000000000000000000000}',
        '{"subject": "a", "cost": %s}' % ("1" * 5000),
        '{"subject": "a", "cost": NaN}',
        '{"subject": "a", "cost": Infinity}',
        '{"subject": "a", "cost": null}',
        '{"subject": "a", "s3cret": 1}',
        '{"subject": "a", "body": 1}',
        '{"subject": "a", "": 1}',
    ],
    CHECK_ALL: [
        "{}",
        '{"checks": []}',
        '{"checks": {"api": "a"}}',
        '{"checks": [{"subject": "a"}]}',
        '{"checks": [{"policy": "api", "subject": "a"}, {"policy": "api", "subject": "a"}]}',
        '{"checks": [{"policy": "api", "subject": "a", "at": "s3cret"}]}',
        '{"checks": [{"policy": "api", "subject": "a", "cost": 201}]}',
        json.dumps({"checks": [{"policy": "api", "subject": f"{n}", "cost": n} for n in (0, 1)]}),
        json.dumps({"checks": [{"policy": "api", "subject": f"{n}"} for n in range(9)]}),
    ],
    REVOKE: [
        "{}",
        '{"jti": "a"}',
        '{"jti": "a", "user": "b", "expires_at": 2000000000}',
        '{"jti": "a", "token": "b", "expires_at": 2000000000}',
        '{"user": "a", "expires_at": 2000000000}',
        '{"user": "a", "issued_before": 9999999999}',
        '{"user": "a", "issued_before": 1}',
        '{"jti": "a", "issued_before": 1, "expires_at": 2000000000}',
        '{"jti": "a", "expires_at": 1}',
        '{"jti": "a", "expires_at": 1e308}',
        '{"jti": "a", "expires_at": NaN}',
        '{"jti": "a", "expires_at": -Infinity}',
        '{"jti": "a", "expires_at": true}',
        '{"jti": "a", "expires_at": "2000000000"}',
        '{"jti": "a", "expires_at": "tomorrow"}',
        '{"jti": "a", "expires_at": "2033-05-18"}',
        '{"jti": "a", "expires_at": "2033-05-18T03:33:20"}',
        '{"jti": "a", "expires_at": "2033-13-18T03:33:20Z"}',
        '{"jti": "a", "expires_at": "9999-12-31T23:59:59Z"}',
        '{"jti": "a", "expires_at": "0001-01-01T00:00:00+23:59"}',
        '{"jti": "a", "expires_at": 2000000000, "level": "most"}',
        '{"jti": "a", "expires_at": 2000000000, "reason": "\\u0000"}',
        '{"jti": "a", "expires_at": 2000000000, "reason": 1}',
        '{"jti": "", "expires_at": 2000000000}',
    ],
    ASK: ["{}", '{"jti": "a", "token": "b"}', '{"jti": null}', '{"user": "a"}', '{"jti": ["s3c"]}'],
}
NOT_JSON = ["", "null", "[]", '"s3cret"', "{", "[" * 30_000, '{"s3cret', "\x00"]


@pytest.mark.parametrize(
    ("path", "body"),
    [(path, body) for path, bodies in BAD_BODIES.items() for body in bodies]
    + [(path, body) for path in POSTS for body in NOT_JSON],
    ids=lambda text: text[:50].encode("unicode_escape").decode(),
)
@pytest.mark.asyncio(loop_scope="module")
async def test_bad_input(common_client, path, body):
    response = await common_client.post(
        path, content=body.encode(), headers={"Content-Type": "application/json"}
    )
    found = problem(response, 422)
    assert found["ran"] == "no"
    assert found["detail"]
    assert "s3c" not in found["detail"].replace("'s3cret'", "")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_is_read(client, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    problem(await client.post(CHECK, content=b'{"subject": "a"}', headers=headers), 415)


async def test_a_charset_may_be_named(client):
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = await client.post(CHECK, content='{"subject": "é"}'.encode(), headers=headers)
    assert response.status_code == 200


async def test_a_large_body_is_refused_by_its_length_and_not_read(client):
    given = 0

    async def chunks():
        nonlocal given
        given += 1
        yield b"x"

    headers = {"Content-Length": str(BODY_LIMIT + 1)}
    problem(await client.post(CHECK, content=chunks(), headers=headers), 413)
    assert given == 0


async def test_a_body_without_end_is_not_read_to_its_end(client):
    given = 0

    async def chunks():
        nonlocal given
        while True:
            given += 1
            yield b"x" * 1024

    problem(await client.post(CHECK, content=chunks()), 413)
    assert given <= BODY_LIMIT // 1024 + 2


async def test_who_goes_away_in_the_middle_of_a_body_is_no_fault_to_log(state, caplog):
    app = create_app(state)
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/dashboard/login",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }
    said: list[Any] = [{"type": "http.request", "body": b"tok", "more_body": True}]
    answered = []

    async def receive():
        return said.pop(0) if said else {"type": "http.disconnect"}

    async def send(message):
        answered.append(message)

    await app(scope, receive, send)
    assert answered == []
    assert caplog.records == []


async def test_the_description_is_rendered_once(client, monkeypatch):
    first = (await client.get("/openapi.json")).json()
    monkeypatch.setattr("aragora_redis.gateway.app.Gateway.openapi", None)
    assert (await client.get("/openapi.json")).json() == first


async def test_how_large_a_body_may_be_is_set(open_gateway):
    _, client = await open_gateway(ARAGORA_HTTP_MAX_BODY="1024")
    headers = {"Content-Type": "application/json"}
    for length, status in ((1024, 200), (1025, 413)):
        body = b'{"subject": "a"}'.ljust(length)
        answer = await client.post(CHECK, content=body, headers=headers)
        assert answer.status_code == status


@pytest.mark.parametrize("field", ["Host", "Authorization", "Content-Type", "Origin"])
async def test_what_can_be_said_once_is_not_said_twice(client, field):
    """A proxy in front may go by the one, and the gateway by the other."""
    twice = [(field, "localhost"), (field, "localhost"), ("X-Any", "1"), ("X-Any", "2")]
    request = client.build_request("POST", CHECK, json={"subject": "a"})
    rest = [each for each in request.headers.multi_items() if each[0] != field.lower()]
    told = await client.post(CHECK, content=request.content, headers=[*rest, *twice])
    assert field in problem(told, 400)["detail"]


async def test_the_largest_body_is_read(client):
    body = b'{"subject": "a"}'.ljust(BODY_LIMIT)
    headers = {"Content-Type": "application/json"}
    assert (await client.post(CHECK, content=body, headers=headers)).status_code == 200


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_words = st.sampled_from(
    ["subject", "cost", "jti", "user", "token", "expires_at", "issued_before", "reason", "level"]
)
_objects = st.dictionaries(_words | st.text(), _scalars | st.lists(_scalars), max_size=5)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(POSTS), body=_objects | _scalars | st.binary())
async def test_no_body_makes_it_fail(client, path, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await client.post(
        path, content=content, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in {200, 422}, response.text


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(claims=st.dictionaries(st.sampled_from(["jti", "sub", "iat", "exp", "nbf"]), _scalars))
async def test_no_claims_make_it_fail(client, claims):
    try:
        token = jwt.PyJWS().encode(json.dumps(claims).encode(), KEY)
    except ValueError:
        return
    for path in (ASK, REVOKE):
        response = await client.post(path, json={"token": token})
        assert response.status_code in {200, 422}, response.text


# --- paths ------------------------------------------------------------------------------


async def test_an_unknown_path(client):
    problem(await client.get("/s3cret"), 404)
    problem(await client.get("/docs"), 404)


async def test_another_method(client):
    response = await client.get(CHECK)
    problem(response, 405)
    assert response.headers["Allow"] == "POST"


async def test_status(client):
    body = (await client.get("/v1/status")).json()
    assert body["mode"] == "embedded"
    assert body["health"] == "healthy"
    assert body["ready"] is True
    assert {"primary", "epoch", "replicas", "instances", "staleness"} <= set(body)
    assert body["disk"] is None


async def test_status_tells_what_the_outbox_holds(open_gateway, tmp_path):
    _, client = await open_gateway(**TOKENS, ARAGORA_TOKENS_OUTBOX=str(tmp_path / "outbox"))
    made = await client.post(REVOKE, json={"jti": "x", "expires_at": time.time() + 60})
    assert made.json()["outbox"] == "disk"
    told = (await client.get("/v1/status")).json()["disk"]
    size = sum(file.stat().st_size for file in (tmp_path / "outbox").iterdir())
    assert told == {"entries": 1, "size": size, "waiting": 0, "delay": 0.0, "trouble": None}


async def test_health_and_readiness(state, client, monkeypatch):
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    monkeypatch.setattr(type(state), "ready", property(lambda _: False))
    assert (await client.get("/healthz")).status_code == 200
    response = await client.get("/readyz")
    assert problem(response, 503)["type"] == "urn:aragora-redis:not-ready"
    assert response.headers["Retry-After"] == "1"


async def test_metrics(client):
    await client.post(CHECK, json={"subject": "s3cret"})
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    sample = 'aragora_redis_decisions_total{allowed="true",policy="api",source="local"} 1.0'
    assert sample in response.text
    assert "aragora_redis_ready 1.0" in response.text
    assert "s3cret" not in response.text


async def test_cut_offs_are_asked_for_by_claims_without_a_key(open_gateway):
    state, client = await open_gateway(**TOKENS, ARAGORA_TOKENS_FAMILY_CLAIM="login")
    then = int(time.time()) - 60
    await state.tokens.revoke_user("ann", issued_before=then, reason="left")
    await state.tokens.revoke_tenant("7", users=1, issued_before=then, reason="gone")
    await state.tokens.revoke_family("f", issued_before=then)
    for claims, found in (
        (
            {"sub": "ann", "iat": then, "jti": "j", "exp": [{}]},
            {"revoked": True, "reason": "left"},
        ),
        ({"sub": "ann", "iat": then + 1.5}, {"revoked": False}),
        ({"sub": "bob", "org_id": 7}, {"revoked": True, "reason": "1 users: gone"}),
        ({"login": "f", "iat": 0}, {"revoked": True, "reason": "family"}),
        ({"sid": "f", "jti": "j"}, {"revoked": False}),
    ):
        asked = await client.post(ASK, json={"claims": claims})
        assert (asked.status_code, asked.json()) == (200, found)
    for wrong in ({}, {"iat": 1}, {"sub": 7}, {"sub": "ann", "iat": "now"}, {"jti": "x" * 10_000}):
        problem(await client.post(ASK, json={"claims": wrong}), 422)
    problem(await client.post(ASK, json={"claims": {"jti": "j"}, "jti": "j"}), 422)


async def test_a_body_has_to_come_in_time(open_gateway):
    _, client = await open_gateway(ARAGORA_HTTP_BODY_TIMEOUT="100 ms")

    async def stalling():
        yield b'{"subject": '
        await asyncio.Event().wait()

    stalled = await client.post(CHECK, content=stalling())
    problem(stalled, 408)
    assert stalled.headers["Connection"] == "close"


async def test_a_login_is_begun_for_whoever_signs_elsewhere(client, state):
    await state.tokens.revoke_tenant("acme", users=1)
    login = {"user": "42", "lifetime": 60, "in_all": 600, "claims": {"org_id": "acme", "n": [1]}}
    begun = await client.post(BEGIN, json=login)
    first = begun.json()["claims"]
    assert (begun.status_code, first["sub"], first["org_id"]) == (200, "42", "acme")
    assert first["n"] == [1]
    assert not state.tokens.is_revoked(first), "right after the cut-off, which does not mean it"
    assert first["exp"] == first["iat"] + 60
    asked = await client.post(REFRESH, json={"token": jwt.encode(first, KEY)})
    refreshed = asked.json()["claims"]
    assert (refreshed["sid"], refreshed["generation"]) == (first["sid"], 1)
    assert refreshed["jti"] != first["jti"]
    deep: object = 1
    for _ in range(400):
        deep = [deep]
    headers = {"Content-Type": "application/json"}
    wrong_ones: Any = (
        *(
            {"claims": {name: 1}}
            for name in ("sub", "sid", "exp", "self", "absolute", "family_exp")
        ),
        *({"claims": {"c": value}} for value in (float("nan"), "\ud800", deep)),
        {"lifetime": 1e9},
        {"in_all": 1e300},
        {"user": ""},
    )
    for wrong in wrong_ones:
        content = json.dumps({"user": "42", **wrong})
        problem(await client.post(BEGIN, content=content, headers=headers), 422)


async def test_the_description_is_complete(client):
    described = (await client.get("/openapi.json")).json()
    schemes = described["components"]["securitySchemes"]
    assert next(iter(schemes.values()))["scheme"] == "bearer"
    assert set(described["paths"]) == {
        "/v1/limits/check",
        "/v1/limits/{policy}/check",
        "/v1/limits/{policy}/reset",
        "/v1/limits/{policy}/reserve",
        "/v1/limits/{policy}/subjects",
        "/v1/limits/{policy}/subjects/{subject}",
        "/v1/limits/keep",
        "/v1/limits/settle",
        "/v1/limits/refund",
        "/v1/tokens/revoke",
        "/v1/tokens",
        "/v1/tokens/check",
        "/v1/tokens/pardon",
        "/v1/tokens/export",
        "/v1/tokens/import",
        "/v1/tokens/refresh",
        "/v1/tokens/refresh/begin",
        "/oauth/revoke",
        "/oauth/introspect",
        "/v1/sessions",
        "/v1/sessions/end-all",
        "/v1/sessions/rotate",
        "/v1/sessions/{session_id}",
        "/v1/sessions/{session_id}/rotate",
        "/v1/users/{user}/sessions",
        "/v1/users/{user}/sessions/{handle}",
        "/v1/circuits",
        "/v1/circuits/{name}",
        "/v1/circuits/{name}/acquire",
        "/v1/circuits/{name}/keep",
        "/v1/circuits/{name}/report",
        "/v1/circuits/{name}/release",
        "/v1/circuits/{name}/force",
        "/v1/audit",
        "/authz",
        "/authz/{who}/{policy}",
        "/v1/status",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert bool(operation.get("security")) == path.startswith(("/v1", "/oauth")), path
            if path.startswith("/oauth"):
                continue  # whose errors are OAuth's
            for status, answer in operation["responses"].items():
                refusal = status == "429" and not path.startswith("/authz")  # which is a decision
                wanted = int(status) >= 400 and not refusal
                assert ("application/problem+json" in answer.get("content", {})) == wanted, (
                    path,
                    status,
                )
    text = json.dumps(described)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in described["components"]["schemas"]


# --- who may do what --------------------------------------------------------------------

REFRESHABLE = {"sid": "f", "generation": 0, "jti": "j", "iat": 1, "exp": 2**31}
ADMIN_ONLY = {
    RESET: {"subject": "a"},
    REVOKE: {"user": "42"},
    REFRESH: {"token": jwt.encode(REFRESHABLE, KEY), "lifetime": 60},
    BEGIN: {"user": "42"},
}
ANYBODY_OF_OURS = {
    CHECK_ALL: {"checks": [{"policy": "api", "subject": "a"}]},
    CHECK: {"subject": "a"},
    ASK: {"jti": "a"},
}


@pytest.mark.parametrize("token", [None, "nobody-s-token-001"])
@pytest.mark.parametrize("path", [*POSTS, "/v1/nothing"])
async def test_without_a_valid_token(open_gateway, token, path):
    _, client = await open_gateway(token, **TOKENS)
    response = await client.post(path, content=b"{")
    problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert not token or token not in response.text


@pytest.mark.parametrize("path", [*ADMIN_ONLY, *ANYBODY_OF_OURS])
async def test_with_the_gateways_token(open_gateway, path):
    _, client = await open_gateway(GATEWAY, **TOKENS)
    response = await client.post(path, json=(ADMIN_ONLY | ANYBODY_OF_OURS)[path])
    if path in ANYBODY_OF_OURS:
        assert response.status_code == 200
    else:
        assert "ARAGORA_ADMIN_TOKEN" in problem(response, 403)["remedy"]
        assert "insufficient_scope" in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("path", [*ADMIN_ONLY, *ANYBODY_OF_OURS])
async def test_with_the_admins_token(client, path):
    response = await client.post(path, json=(ADMIN_ONLY | ANYBODY_OF_OURS)[path])
    assert response.status_code == 200


async def test_the_status_takes_any_token(open_gateway):
    for token, status in ((None, 401), (GATEWAY, 200), (ADMIN, 200)):
        _, client = await open_gateway(token, **TOKENS)
        assert (await client.get("/v1/status")).status_code == status


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("0.0.0.0", 401)])  # noqa: S104
async def test_what_is_open(open_gateway, host, status):
    _, client = await open_gateway(None, ARAGORA_HOST=host, **TOKENS)
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/metrics")).status_code == status


async def test_without_any_token_this_machine_is_trusted_and_told_so(open_gateway, caplog):
    with caplog.at_level(logging.WARNING):
        _, client = await open_gateway(None)
    assert "ARAGORA_ADMIN_TOKEN" in caplog.text
    assert (await client.post(REVOKE, json={"user": "42"})).status_code == 200


async def test_a_web_page_can_press_nothing(open_gateway):
    _, client = await open_gateway(None)
    body = {"user": "42"}
    page = {"Origin": "http://evil.example"}
    problem(await client.post(REVOKE, json=body, headers=page), 403)
    rebound = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    problem(await client.post(REVOKE, json=body, headers=rebound), 421)
    problem(await client.get("/v1/status", headers=rebound), 421)
    own = {"Origin": "http://localhost:8080"}
    assert (await client.post(REVOKE, json=body, headers=own)).status_code == 200
