"""Limits and tokens in a service: middleware, and FastAPI's dependencies."""

from __future__ import annotations

import base64
import json
import re
import time
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import jwt
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Security, WebSocket
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from aragora_redis import SharedState
from aragora_redis.errors import (
    InvalidInputError,
    LimitExceededError,
    LinkDownError,
    NotReadyError,
    OutcomeUnknownError,
    SessionConflictError,
    SettingsError,
    StaleError,
    TokenRevokedError,
    UnknownPolicyError,
)
from aragora_redis.jwt import VerifiedToken
from aragora_redis.policies import parse_policies
from aragora_redis.settings import from_env
from aragora_redis.tokens.identity import token_id
from aragora_redis.web.client_address import client_address, proxies, subject_of
from aragora_redis.web.fastapi import RateLimit, RequireToken, install, lifespan, state_of
from aragora_redis.web.starlette import (
    RateLimitMiddleware,
    SessionMiddleware,
    TokenMiddleware,
    by_address,
)
from aragora_redis.web.starlette.asgi import is_below

KEY = "0123456789abcdef" * 4
POLICIES = """
[limits.api]
rate = "1 per minute"
burst = 2

[limits.wide]
rate = "100 per minute"
"""


@pytest.fixture
async def state(tmp_path):
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    env = {"ARAGORA_POLICIES": str(policies), "ARAGORA_JWT_SECRET": KEY}
    async with SharedState(from_env(env)) as made:
        yield made


def client_of(app, peer="203.0.113.9"):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def ok(request):
    return JSONResponse(getattr(request.state, "claims", None))


PLAIN = Starlette(routes=[Route("/", ok), Route("/health/live", ok)])


# --- limits -----------------------------------------------------------------------------


async def test_a_limit_is_told_and_kept(state):
    app = RateLimitMiddleware(PLAIN, state=state, exempt=["/health"])
    async with client_of(app) as client:
        answers = [await client.get("/") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].headers["ratelimit"] == '"api";r=1;t=60'
        assert answers[0].headers["ratelimit-policy"] == '"api";q=2;w=120'
        refused = answers[2]
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert refused.json()["type"] == "urn:aragora-redis:limit-exceeded"
        assert (await client.get("/health/live")).status_code == 200
    async with client_of(app, "203.0.113.10") as other:
        assert (await other.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("root", "path", "below"),
    [
        ("", "/health", True),
        ("", "/health/live", True),
        ("", "/healthy", False),
        ("/api", "/api/health", True),
        ("/api/", "/api/health", True),
        ("/api", "/health", True),
        ("/api", "/api/other", False),
        ("/api", "/apihealth", False),
        ("/api", "/api", False),
        ("/api", "/api/api/health", False),
    ],
)
def test_paths_are_told_as_the_routes_have_them(root, path, below):
    assert is_below({"path": path, "root_path": root}, ["/health"]) is below


def test_the_root_is_a_path_too():
    assert is_below({"path": "/api", "root_path": "/api"}, ["/"])


async def test_what_is_exempt_is_so_below_a_root_path(state):
    app = RateLimitMiddleware(PLAIN, state=state, exempt=["/health"])
    transport = httpx.ASGITransport(app, root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for _ in range(3):
            assert (await client.get("/api/health/live")).status_code == 200
        assert [(await client.get("/api/")).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("option", [{"exempt": "/health"}, {"exempt": [5]}], ids=["text", "number"])
@pytest.mark.parametrize("middleware", [RateLimitMiddleware, TokenMiddleware])
def test_one_text_for_a_list_of_paths_is_refused(state, middleware, option):
    """Its characters would be taken for paths, and below "/" is everything."""
    with pytest.raises(TypeError, match=re.escape('exempt is a list of paths: ["/healthz"]')):
        middleware(PLAIN, state=state, **option)


def test_the_same_for_paths_that_have_no_session(state):
    with pytest.raises(TypeError, match="exclude is a list of paths"):
        SessionMiddleware(PLAIN, state=state, exclude="/health")
    with pytest.raises(InvalidInputError, match="'health' in exclude"):
        SessionMiddleware(PLAIN, state=state, exclude=["/ready", "health"])


@pytest.mark.parametrize("root", ["health", "", "*/health"])
def test_a_path_that_no_request_has_is_refused(state, root):
    with pytest.raises(
        InvalidInputError, match=re.escape(f'{root!r} in exempt does not begin with "/"')
    ):
        TokenMiddleware(PLAIN, state=state, exempt=["/ready", root])


async def test_a_subject_may_be_anything_and_none_is_not_counted(state):
    def by_key(scope):
        return dict(scope["headers"]).get(b"x-key", b"").decode() or None

    app = RateLimitMiddleware(PLAIN, state=state, subject=by_key)
    async with client_of(app) as client:
        for _ in range(5):
            assert (await client.get("/")).status_code == 200
        statuses = [(await client.get("/", headers={"X-Key": "a"})).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]


async def test_a_limit_that_cannot_be_decided_is_503_and_names_no_server(state, monkeypatch):
    async def away(*_):
        raise LinkDownError("10.0.0.7:6379 cannot be reached")

    monkeypatch.setattr(state.rate_limits, "check", away)
    async with client_of(RateLimitMiddleware(PLAIN, state=state)) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["ran"] == "no"
        assert "10.0.0.7" not in answer.text


async def test_a_websocket_over_its_limit_does_not_open(state):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    app = RateLimitMiddleware(PLAIN, state=state, subject=lambda _: "one")
    for _ in range(2):
        await state.rate_limits.check("api", "one")
    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert [each["type"] for each in sent] == ["websocket.close"]


def test_an_unknown_policy_is_told_at_once(state):
    with pytest.raises(UnknownPolicyError, match="no limit 'nobody'"):
        RateLimitMiddleware(PLAIN, state=state, policy="nobody")


async def test_a_limit_that_the_file_lost_is_a_fault_of_the_service(state, caplog):
    app = RateLimitMiddleware(PLAIN, state=state)
    await state.rate_limits.check("api", "somebody")
    state.use_policies(parse_policies("[limits.other]\nrate = '1 per hour'\n", source="other.toml"))
    async with client_of(app) as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "other" not in answer.text
    assert "ARAGORA_POLICIES" not in answer.text
    assert "'api'" in caplog.text, "it was in use"
    assert "ARAGORA_POLICIES" in caplog.text


async def test_a_limit_that_is_lost_while_it_is_asked_was_asked(state, monkeypatch):
    check = state.rate_limits.check

    async def lost_meanwhile(*args):
        decision = await check(*args)
        state.use_policies(parse_policies("", source="empty.toml"))
        return decision

    monkeypatch.setattr(state.rate_limits, "check", lost_meanwhile)
    async with client_of(RateLimitMiddleware(PLAIN, state=state)) as client:
        assert (await client.get("/")).headers["ratelimit"] == '"api";r=1;t=60'


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("1.2.3.4", [], "1.2.3.4"),
        ("1.2.3.4", ["9.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", ["9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6", "9.9.9.9, 10.0.0.2"], "9.9.9.9"),
        ("10.0.0.1", ["garbage"], "10.0.0.1"),
        ("10.0.0.1", ["9.9.9.9, garbage, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["", " "], "10.0.0.1"),
        (None, ["9.9.9.9"], None),
        ("::ffff:10.0.0.1", ["9.9.9.9, ::ffff:10.0.0.2"], "9.9.9.9"),
        ("::ffff:1.2.3.4", ["9.9.9.9"], "::ffff:1.2.3.4"),
        ("2001:db8::1", ["9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", ["203.0.113.9:5678"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, [2001:db8:1::1]:443, 10.0.0.2:80"], "2001:db8:1::1"),
        ("10.0.0.1", ["[2001:db8:1::1]"], "2001:db8:1::1"),
        ("10.0.0.1", ["2001:db8:1::1"], "2001:db8:1::1"),
        ("10.0.0.1", ["garbage:80"], "10.0.0.1"),
        ("10.0.0.1", [":80"], "10.0.0.1"),
    ],
)
def test_forwarded_counts_as_far_as_proxies_are_trusted(peer, forwarded, expected):
    trusted = proxies(["10.0.0.0/8", "2001:db8::/64"])
    assert client_address(peer, forwarded, trusted) == expected


async def test_over_a_unix_socket_nobody_goes_uncounted(state, caplog):
    app = RateLimitMiddleware(PLAIN, state=state, subject=by_address(["10.0.0.0/8"]))
    async with client_of(app, None) as client:
        sent = [{"X-Forwarded-For": f"203.0.113.{n}"} for n in range(3)]
        answers = [(await client.get("/", headers=each)).status_code for each in sent]
    assert answers == [200, 200, 429], "all are one subject"
    assert caplog.text.count("by_address(['unix'])") == 1


@pytest.mark.parametrize("peer", [None, ""])
def test_a_proxy_on_a_unix_socket_is_trusted_where_that_is_said(peer):
    trusted = proxies(["unix", "10.0.0.0/8"])
    assert client_address(peer, ["6.6.6.6, 9.9.9.9, 10.0.0.1"], trusted) == "9.9.9.9"
    assert client_address(peer, [], trusted) is None
    assert client_address("1.2.3.4", ["9.9.9.9"], trusted) == "1.2.3.4"


def test_an_ipv6_customer_is_a_network():
    assert subject_of("2001:db8:1:2:3::4") == "ip:2001:db8:1:2::/64"
    assert subject_of("::ffff:192.0.2.1") == "ip:192.0.2.1"
    assert subject_of("192.0.2.1") == "ip:192.0.2.1"
    with pytest.raises(SettingsError):
        by_address(["10.0.0.0/99"])


# --- tokens -----------------------------------------------------------------------------


def token(key=KEY, algorithm="HS256", **claims):
    known = {"jti": "t1", "sub": "42", "iat": time.time(), "exp": time.time() + 3600}
    return jwt.encode(known | claims, key, algorithm=algorithm)


def unsigned():
    def part(held):
        return base64.urlsafe_b64encode(json.dumps(held).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part({'jti': 't1', 'exp': time.time() + 60})}."


async def get(client, value, path="/"):
    return await client.get(path, headers={"Authorization": value} if value else {})


async def test_a_valid_token_passes_until_it_is_revoked(state):
    async with client_of(TokenMiddleware(PLAIN, state=state, exempt=["/health"])) as client:
        answer = await get(client, f"Bearer {token()}")
        assert (answer.status_code, answer.json()["sub"]) == (200, "42")
        await state.tokens.revoke("t1", expires_at=time.time() + 60)
        refused = await get(client, f"Bearer {token()}")
        assert (refused.status_code, refused.json()["detail"]) == (401, "the token was revoked")
        assert (await get(client, f"Bearer {token(jti='t2')}")).status_code == 200
        await state.tokens.revoke_user("42")
        assert (await get(client, f"Bearer {token(jti='t2')}")).status_code == 401
        assert (await get(client, None, "/health/live")).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer garbage",
        "Bearer a.b.c",
        "Bearer " + unsigned(),
        "Bearer " + token(exp=time.time() - 60),
        "Bearer " + token(algorithm="HS512"),
        "Bearer " + token(key="another-key-of-some-length-000000000000"),
        "Bearer " + token()[:-3],
        "Bearer " + token(jti=5),
        "Bearer " + "x" * 20_000,
    ],
    ids=[
        "nothing",
        "empty",
        "scheme alone",
        "scheme and space",
        "another scheme",
        "garbage",
        "three parts",
        "unsigned",
        "expired",
        "another algorithm",
        "another key",
        "cut off",
        "jti is no text",
        "too long",
    ],
)
async def test_no_other_token_passes(state, value):
    async with client_of(TokenMiddleware(PLAIN, state=state)) as client:
        answer = await get(client, value)
        assert answer.status_code == 401, answer.text
        challenge = answer.headers["www-authenticate"]
        sent = (value or "").removeprefix("Bearer").strip()
        told = 'Bearer realm="api"'
        if sent and "Basic" not in sent:
            told += ', error="invalid_token", error_description='
        assert challenge.startswith(told)
        assert ("error=" in challenge) == ("error=" in told)
        assert not sent or sent not in answer.text


@pytest.mark.parametrize("sent", [["Bearer a b"], ["Bearer \xe9"], ["Bearer a", "Bearer b"]])
async def test_rfc6750_section_3_1_a_request_that_cannot_be_understood_is_400(state, sent):
    headers = [("Authorization", value.encode("latin-1")) for value in sent]
    async with client_of(TokenMiddleware(PLAIN, state=state)) as client:
        answer = await client.get("/", headers=headers)
        assert answer.status_code == 400
        told = answer.headers["www-authenticate"]
        assert told == 'Bearer realm="api", error="invalid_request"'


async def test_a_re_encoded_token_is_revoked_all_the_same(state):
    """Without a jti a digest of what was signed stands for the token, however it is spelled."""
    plain = jwt.encode({"sub": "42", "exp": int(time.time()) + 60}, KEY)
    await state.tokens.revoke(token_id(plain, {}), expires_at=time.time() + 60)
    last = plain[-1]
    others = [plain[:-1] + each for each in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef" if each != last]
    async with client_of(TokenMiddleware(PLAIN, state=state)) as client:
        for each in (plain, *others):
            assert (await get(client, f"Bearer {each}")).status_code == 401


@pytest.mark.parametrize("error", [NotReadyError("not yet"), StaleError("too old")])
async def test_who_cannot_say_answers_503_and_never_401(state, monkeypatch, error):
    def unable(_):
        raise error

    monkeypatch.setattr(state.revocations, "vouch", unable)
    async with client_of(TokenMiddleware(PLAIN, state=state)) as client:
        answer = await get(client, f"Bearer {token()}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "www-authenticate" not in answer.headers


async def test_without_a_key_nothing_starts():
    with pytest.raises(SettingsError, match="ARAGORA_JWT_SECRET"):
        TokenMiddleware(PLAIN, state=SharedState(from_env({})))


# --- FastAPI ----------------------------------------------------------------------------


@pytest.fixture
def service(state):
    app = FastAPI()
    install(app, state)
    by_path = RateLimit("api", subject=lambda scope: scope["path"])

    @app.get("/limited", dependencies=[Depends(by_path), Depends(RateLimit("wide", cost=10))])
    async def limited():
        return "ok"

    @app.get("/me")
    async def me(token: Annotated[VerifiedToken, Depends(RequireToken())]):
        return token.user

    @app.get("/write")
    async def write(_: Annotated[VerifiedToken, Security(RequireToken("a"), scopes=["b"])]):
        return "written"

    @app.post("/verify")
    async def verify(request: Request):
        return (await state.tokens.verify((await request.body()).decode())).user

    @app.get("/broken")
    async def broken(request: Request):
        await request.app.state.aragora.rate_limits.check("nobody", "x")

    return app


async def test_dependencies_limit_and_tell_all_limits(service):
    async with client_of(service) as client:
        answers = [await client.get("/limited") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].headers["ratelimit"] == '"api";r=1;t=60, "wide";r=90;t=6'
        assert answers[2].headers["content-type"] == "application/problem+json"


async def test_a_middleware_tells_of_its_limit_beside_those_of_a_route(state):
    app = FastAPI()
    install(app, state)

    @app.get("/", dependencies=[Depends(RateLimit("wide", x_headers=True))])
    async def root():
        return "ok"

    app.add_middleware(RateLimitMiddleware, state=state, policy="api", x_headers=True)
    async with client_of(app) as client:
        told = (await client.get("/")).headers
        assert told["ratelimit"] == '"wide";r=99;t=1, "api";r=1;t=60'
        assert told["ratelimit-policy"] == '"wide";q=100;w=60, "api";q=2;w=120'
        assert told["x-ratelimit-limit"] == "100"


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (lambda: {"plain": "data"}, 200),
        (lambda: PlainTextResponse("made by the route"), 200),
        (lambda: StreamingResponse(iter(["a", "b"])), 200),
        (lambda: raised(HTTPException(404)), 404),
        (lambda: raised(LinkDownError("away")), 503),
    ],
    ids=["data", "response", "stream", "exception", "ours"],
)
async def test_a_limit_is_told_whoever_makes_the_response(state, made, status):
    app = FastAPI()
    install(app, state)

    @app.get("/", dependencies=[Depends(RateLimit("wide", x_headers=True))], response_model=None)
    async def root():
        return made()

    async with client_of(app) as client:
        answer = await client.get("/")
    assert answer.status_code == status
    assert answer.headers["ratelimit"] == '"wide";r=99;t=1'
    assert answer.headers["x-ratelimit-remaining"] == "99"


def raised(error):
    raise error


async def test_who_is_refused_is_told_of_the_limits_that_gave_too(state):
    app = FastAPI()
    install(app, state)

    @app.get("/", dependencies=[Depends(RateLimit("wide")), Depends(RateLimit("api"))])
    async def root():
        return "ok"

    async with client_of(app) as client:
        answers = [await client.get("/") for _ in range(3)]
    assert answers[2].status_code == 429
    assert answers[2].headers["ratelimit"].startswith('"api";r=0;t=')
    assert ', "wide";r=97;t=' in answers[2].headers["ratelimit"]


async def test_a_limit_that_is_checked_twice_is_told_once(state):
    app = FastAPI()
    install(app, state)

    @app.get("/", dependencies=[Depends(RateLimit("wide"))])
    async def root():
        return "ok"

    app.add_middleware(RateLimitMiddleware, state=state, policy="wide")
    async with client_of(app) as client:
        told = (await client.get("/")).headers
    assert told["ratelimit"] == '"wide";r=98;t=2'
    assert told["ratelimit-policy"] == '"wide";q=100;w=60'


async def test_dependencies_judge_tokens(service, state):
    async with client_of(service) as client:
        assert (await get(client, f"Bearer {token()}", "/me")).json() == "42"
        await state.tokens.revoke("t1", expires_at=time.time() + 60)
        assert (await get(client, f"Bearer {token()}", "/me")).status_code == 401
        assert (await get(client, None, "/me")).status_code == 401


async def test_rfc6750_section_3_1_a_token_that_does_not_allow_enough_is_403(service):
    async with client_of(service) as client:
        refused = await get(client, f"Bearer {token(scope='a')}", "/write")
        assert refused.status_code == 403
        assert refused.headers["www-authenticate"] == (
            'Bearer realm="api", error="insufficient_scope", scope="a b"'
        )
        assert (await get(client, f"Bearer {token(scope='a b')}", "/write")).status_code == 200


async def test_a_refused_token_of_a_route_is_401_and_other_input_is_not(service):
    async with client_of(service) as client:
        assert (await client.post("/verify", content=token())).json() == "42"
        refused = await client.post("/verify", content=token(exp=1))
        assert refused.status_code == 401
        assert 'error_description="it has expired"' in refused.headers["www-authenticate"]


async def test_errors_are_problems_and_the_description_renders(service):
    async with client_of(service) as client:
        broken = await client.get("/broken")
        assert (broken.status_code, broken.json()["ran"]) == (500, "no")
        assert "nobody" not in broken.text
        assert (await client.get("/openapi.json")).status_code == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LimitExceededError("api", 3.0), 1013),
        (LinkDownError("10.0.0.7:6379 cannot be reached"), 1013),
        (OutcomeUnknownError("10.0.0.7:6379 gave no answer"), 1011),
        (TokenRevokedError("the token is revoked"), 1008),
        (SessionConflictError("x" * 200), 1011),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_an_error_of_a_websocket_that_was_accepted_closes_it(state, error, code):
    app = FastAPI()
    install(app, state)

    @app.websocket("/ws")
    async def endpoint(socket: WebSocket):
        await socket.accept()
        raise error

    sent = await said_to_a_websocket(app, "/ws")
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == code
    assert "10.0.0.7" not in sent[1]["reason"]
    assert 0 < len(sent[1]["reason"]) <= 123


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        ({"websocket.http.response": {}}, "websocket.http.response.start"),
        ({}, "websocket.close"),
        (None, "websocket.close"),
    ],
)
async def test_a_websocket_is_refused_as_the_server_can(state, extensions, said):
    app = FastAPI()
    install(app, state)

    @app.websocket("/ws")
    async def endpoint(_: WebSocket):
        raise LimitExceededError("api", 3.0)

    sent = await said_to_a_websocket(app, "/ws", extensions=extensions)
    assert sent[0]["type"] == said
    assert sent[0].get("status", 429) == 429
    assert sent[0].get("code", 1013) == 1013


async def test_an_error_of_a_websocket_that_the_application_has_closed_is_told_to_nobody(state):
    app = FastAPI()
    install(app, state)

    @app.websocket("/ws")
    async def endpoint(socket: WebSocket):
        await socket.accept()
        await socket.close()
        raise LimitExceededError("api", 3.0)

    sent = await said_to_a_websocket(app, "/ws")
    assert [each.get("code") for each in sent] == [None, 1000]


REFUSABLE: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


async def test_a_limit_of_the_application_is_one_of_its_websockets_too(state):
    app = FastAPI(dependencies=[Depends(RateLimit("api"))])
    install(app, state)

    @app.websocket("/ws")
    async def endpoint(socket: WebSocket, found: Annotated[SharedState, Depends(state_of)]):
        assert found is state
        await socket.accept()

    for _ in range(2):
        sent = await said_to_a_websocket(app, "/ws")
        assert [each["type"] for each in sent] == ["websocket.accept"]
    (closed,) = await said_to_a_websocket(app, "/ws")
    assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
    refused, _ = await said_to_a_websocket(app, "/ws", **REFUSABLE)
    assert refused["status"] == 429
    told = dict(refused["headers"])
    assert 0 < int(told[b"retry-after"]) <= 60
    assert told[b"ratelimit"].startswith(b'"api";r=0;t=')


@pytest.mark.parametrize(
    ("headers", "code", "status"),
    [
        ([], 1008, 401),
        ([(b"authorization", f"Bearer {token(scope='b')}".encode())], 1008, 403),
        ([(b"authorization", f"Bearer {token(scope='a b')}".encode())], None, None),
    ],
    ids=["none", "insufficient", "valid"],
)
async def test_a_websocket_needs_a_token_as_a_request_does(state, headers, code, status):
    app = FastAPI()
    install(app, state)
    users = []

    @app.websocket("/ws")
    async def endpoint(
        socket: WebSocket,
        sent: Annotated[VerifiedToken, Security(RequireToken("a"), scopes=["b"])],
    ):
        users.append(sent.user)
        await socket.accept()

    said = await said_to_a_websocket(app, "/ws", headers=headers)
    assert [each.get("code") for each in said] == [code]
    said = await said_to_a_websocket(app, "/ws", headers=headers, **REFUSABLE)
    assert said[0].get("status") == status
    assert users == ([] if code else ["42", "42"])


async def said_to_a_websocket(app, path, **more):
    sent: list[Any] = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": path, "headers": [], "query_string": b""}
    await app(scope | {"subprotocols": []} | more, receive, send)
    return sent


async def test_the_state_lives_as_long_as_the_application(state):
    seen = []

    async def startup():
        seen.append(state.ready)

    @asynccontextmanager
    async def own(_):
        await startup()
        yield

    app = FastAPI(lifespan=lifespan(state, then=own))
    async with app.router.lifespan_context(app):
        assert seen == [True]


async def test_without_install_the_mistake_is_named():
    app = FastAPI()

    @app.get("/", dependencies=[Depends(RateLimit("api"))])
    async def root():
        return PlainTextResponse("ok")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        with pytest.raises(RuntimeError, match="install"):
            await client.get("/")


async def test_the_log_names_a_limit_that_the_program_names_and_nobody_has_defined(state, caplog):
    app = FastAPI()
    install(app, state)

    @app.get("/", dependencies=[Depends(RateLimit("hello"))])
    async def root():
        return PlainTextResponse("ok")

    async with client_of(app) as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "hello" not in answer.text
    assert "there is no limit 'hello': there are 'api', 'wide' (define it" in caplog.text


async def test_a_state_that_nobody_has_started_is_told_in_the_log_and_not_to_clients(caplog):
    app = FastAPI()
    install(app, SharedState(from_env({"ARAGORA_JWT_SECRET": KEY})))

    @app.get("/", dependencies=[Depends(RateLimit("api"))])
    async def root():
        return PlainTextResponse("ok")

    async with client_of(app) as client:
        answer = await client.get("/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "start" not in answer.json()["detail"]
    assert "start" not in answer.json()["remedy"]
    assert "FastAPI(lifespan=lifespan(state))" in caplog.text
