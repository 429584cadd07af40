"""A Litestar application over a state in memory."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
from litestar import (
    Controller,
    Litestar,
    Request,
    Response,
    Router,
    WebSocket,
    get,
    post,
    websocket,
)
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath
from litestar.response import Stream
from litestar.testing import TestClient

from aragora_redis import SharedState
from aragora_redis.errors import (
    AragoraRedisError,
    LinkDownError,
    OutcomeUnknownError,
    SessionConflictError,
)
from aragora_redis.settings import JwtSettings, Secret, Settings
from aragora_redis.testing import memory_state, outage
from aragora_redis.web.litestar import (
    AragoraPlugin,
    RateLimit,
    RequireToken,
    SessionMiddleware,
    mounted,
    session_of,
    state_of,
)

KEY = "k" * 40
POLICIES = """
[limits.api]
rate = "1 per minute"
burst = 2
[limits.login]
rate = "1 per minute"
burst = 1
on_outage = "fail-closed"
"""
REQUEST = Request[Any, Any, Any]


@pytest.fixture
def state():
    return memory_state(POLICIES, settings=Settings(jwt=JwtSettings(secret=Secret(KEY))))


def service(state, *handlers, **options):
    sessions = mounted(SessionMiddleware, state=state, secure=False)
    return Litestar(
        handlers, plugins=[AragoraPlugin(state)], middleware=[sessions], openapi_config=None,
        **options,
    )  # fmt: skip


@asynccontextmanager
async def serving(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://s") as made:
        yield made


def bearer(scope="", **claims):
    now = time.time()
    given = {"jti": "1", "sub": "42", "iat": now, "exp": now + 3600, "scope": scope} | claims
    return {"Authorization": f"Bearer {jwt.encode(given, KEY, algorithm='HS256')}"}


@get("/limited", guards=[RateLimit("api", x_headers=True)])
async def limited() -> str:
    return "ok"


async def test_the_state_lives_with_the_application_and_is_a_dependency(state):
    @get("/")
    async def home(request: REQUEST, aragora: NamedDependency[SharedState]) -> dict[str, bool]:
        return {"same": aragora is state is state_of(request), "ready": aragora.ready}

    async with serving(service(state, home)) as client:
        assert (await client.get("/")).json() == {"same": True, "ready": True}


async def test_a_handler_is_limited_and_its_clients_are_told(state):
    async with serving(service(state, limited)) as client:
        first = await client.get("/limited")
        assert first.headers["ratelimit-policy"] == '"api";q=2;w=120'
        assert first.headers["x-ratelimit-remaining"] == "1"
        await client.get("/limited")
        refused = await client.get("/limited")
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["retry-after"] == "60"
        assert refused.json()["type"] == "urn:aragora-redis:limit-exceeded"


async def test_limits_of_all_layers_are_told_together(state):
    class Inner(Controller):
        guards = [RateLimit("login")]  # noqa: RUF012 - as Litestar has it

        @get("/")
        async def home(self) -> Stream:
            return Stream(iter(["a", "b"]))

    app = service(state, Router("/inner", route_handlers=[Inner]), guards=[RateLimit("api")])
    async with serving(app) as client:
        answer = await client.get("/inner")
        assert answer.text == "ab"
        assert answer.headers["ratelimit-policy"] == '"api";q=2;w=120, "login";q=1;w=60'
        refused = await client.get("/inner")
        assert refused.status_code == 429
        assert refused.headers["ratelimit-policy"].startswith('"login"')
        assert '"api";r=0' in refused.headers["ratelimit"]


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ({}, 401, 'Bearer realm="api"'),
        ({"Authorization": "Bearer a b"}, 400, 'error="invalid_request"'),
        ({"Authorization": "Bearer aaa"}, 401, 'error="invalid_token"'),
        (bearer(), 403, 'error="insufficient_scope", scope="orders:read"'),
        (bearer("orders:read"), 200, None),
    ],
    ids=["none", "malformed", "nonsense", "insufficient", "good"],
)
async def test_a_handler_demands_a_token(state, headers, status, challenge):
    by_user = RateLimit("login", subject=lambda scope: f"user:{scope['user']}")

    @get("/", guards=[RequireToken("orders:read"), by_user])
    async def home(request: REQUEST) -> list[str]:
        return [request.user, request.auth.id]

    async with serving(service(state, home)) as client:
        answer = await client.get("/", headers=headers)
        assert answer.status_code == status
        if challenge is None:
            assert answer.json() == ["42", "1"]
            assert (await client.get("/", headers=headers)).status_code == 429
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert challenge in answer.headers["www-authenticate"]


async def test_a_session_is_written_rotated_and_ended(state):
    @post("/cart/{item:str}")
    async def put(request: REQUEST, item: FromPath[str]) -> list[str]:
        cart: list[str] = request.session.setdefault("cart", [])
        cart.append(item)
        return cart

    @post("/login")
    async def login(request: REQUEST) -> None:
        await session_of(request).login("42")

    @post("/logout")
    async def logout(request: REQUEST) -> None:
        await session_of(request).end()

    @get("/")
    async def look(request: REQUEST) -> dict[str, Any]:
        return dict(request.session) | {"user": session_of(request).user}

    async with serving(service(state, put, login, logout, look)) as client:
        assert (await client.post("/cart/book")).json() == ["book"]
        before = client.cookies["session"]
        await client.post("/login")
        assert client.cookies["session"] != before
        assert (await client.get("/")).json() == {"cart": ["book"], "user": "42"}
        kept = client.cookies["session"]
        async with outage(state):
            answer = await client.post("/cart/pen")
            assert (answer.status_code, answer.json()["ran"]) == (503, "no")
            assert (await client.post("/logout")).status_code == 201
        client.cookies["session"] = kept
        assert (await client.get("/")).json() == {"user": None}


async def test_without_the_middleware_a_session_is_asked_for_in_vain(state):
    @get("/")
    async def look(request: REQUEST) -> str:
        with pytest.raises(RuntimeError, match="SessionMiddleware"):
            session_of(request)
        return "ok"

    app = Litestar([look], plugins=[AragoraPlugin(state)], openapi_config=None)
    async with serving(app) as client:
        assert (await client.get("/")).text == "ok"


@pytest.mark.parametrize(
    ("error", "status"),
    [(SessionConflictError("both"), 409), (OutcomeUnknownError("who knows"), 503)],
    ids=["conflict", "unknown"],
)
async def test_errors_of_ours_are_problems(state, error, status):
    @get("/")
    async def fail() -> None:
        raise error

    async with serving(service(state, fail)) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.json()["ran"]) == (status, error.ran.value)


async def test_an_outage_is_decided_by_the_policy(state):
    @get("/", guards=[RateLimit("login")])
    async def home() -> str:
        return "ok"

    async with serving(service(state, home)) as client:
        async with outage(state):
            answer = await client.get("/")
            assert answer.status_code == 503
            assert "Redis" not in answer.text
        assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("guard", "code"), [(RateLimit("login"), 1013), (RequireToken(), 1008)], ids=["limit", "token"]
)
def test_a_websocket_that_is_refused_is_told_whether_to_come_again(state, guard, code):
    @websocket("/", guards=[guard])
    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.close()

    with TestClient(service(state, socket)) as client:
        if code == 1013:
            with client.websocket_connect("/"):
                pass
        with pytest.raises(WebSocketDisconnect) as found, client.websocket_connect("/") as opened:
            opened.receive()
        assert found.value.code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [(LinkDownError("away"), 1013), (OutcomeUnknownError("who knows"), 1011), (OSError(), 4500)],
    ids=["later", "unknown", "others"],
)
def test_an_error_in_a_websocket_closes_it(state, error, code):
    @websocket("/")
    async def fail(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        raise error

    with TestClient(service(state, fail)) as client, client.websocket_connect("/") as opened:
        with pytest.raises(WebSocketDisconnect) as found:
            opened.receive_text()
        assert found.value.code == code


async def test_an_application_without_the_plugin_is_told():
    @get("/")
    async def home(request: REQUEST) -> str:
        with pytest.raises(RuntimeError, match="AragoraPlugin"):
            state_of(request)
        return "ok"

    app = Litestar([home], openapi_config=None)
    async with serving(app) as client:
        assert (await client.get("/")).text == "ok"


async def test_what_an_application_says_of_an_error_itself_goes_before(state):
    def mine(_: REQUEST, error: AragoraRedisError) -> Response[str]:
        return Response(error.message, status_code=418)

    @get("/")
    async def fail() -> None:
        raise SessionConflictError("both")

    app = service(state, fail, exception_handlers={AragoraRedisError: mine})
    async with serving(app) as client:
        assert (await client.get("/")).status_code == 418


@post("/login")
async def login(request: REQUEST) -> None:
    request.session["a"] = 1
    await session_of(request).login("42")


@get("/read")
async def read(request: REQUEST) -> dict[str, Any]:
    return {"user": session_of(request).user, **request.session}


@asynccontextmanager
async def logged_in(state, *handlers):
    async with serving(service(state, login, read, *handlers)) as client:
        await client.post("/login")
        yield client


async def test_a_session_that_is_cleared_as_litestar_has_it_ends(state):
    @post("/logout")
    async def logout(request: REQUEST) -> None:
        request.clear_session()

    async with logged_in(state, logout) as client:
        assert "Max-Age=0" in (await client.post("/logout")).headers["set-cookie"]
        assert await state.sessions.of_user("42") == []
        assert (await client.get("/read")).json() == {"user": None}


async def test_what_is_set_once_a_session_was_cleared_is_nobodys(state):
    @post("/logout")
    async def logout(request: REQUEST) -> None:
        request.clear_session()
        request.set_session({"flash": "you are logged out"})

    async with logged_in(state, logout) as client:
        kept = client.cookies["session"]
        await client.post("/logout")
        assert await state.sessions.of_user("42") == []
        told = {"user": None, "flash": "you are logged out"}
        assert (await client.get("/read")).json() == told
        assert await state.sessions.of_cookie(kept) is None


async def test_what_a_cleared_session_held_can_be_kept_by_setting_it_again(state):
    @post("/logout")
    async def logout(request: REQUEST) -> None:
        mine = request.session
        mine["cart"] = 3
        request.clear_session()
        request.set_session(mine)

    async with logged_in(state, logout) as client:
        await client.post("/logout")
        assert await state.sessions.of_user("42") == []
        assert (await client.get("/read")).json() == {"user": None, "a": 1, "cart": 3}


async def test_a_session_that_is_set_as_litestar_has_it_holds_that_alone(state):
    @post("/put")
    async def put(request: REQUEST) -> None:
        request.set_session({"b": 2})
        request.session["c"] = 3

    @post("/clear-and-login")
    async def clear_and_login(request: REQUEST) -> None:
        request.clear_session()
        await session_of(request).login("43")

    async with logged_in(state, put, clear_and_login) as client:
        assert "session=" in (await client.post("/put")).headers["set-cookie"]
        assert (await client.get("/read")).json() == {"user": "42", "b": 2, "c": 3}
        state.sessions._store._copies._copies.clear()
        async with outage(state):
            assert (await client.post("/put")).status_code == 503
        assert (await client.post("/clear-and-login")).status_code == 500
        client.cookies.clear()
        await client.post("/put")
        assert (await client.get("/read")).json() == {"user": None, "b": 2, "c": 3}


async def test_a_session_can_be_set_to_nothing_but_a_mapping(state, caplog):
    @post("/put")
    async def put(request: REQUEST) -> None:
        request.set_session(["secret"])  # type: ignore[arg-type]

    async with logged_in(state, put) as client:
        refused = await client.post("/put")
        assert (refused.status_code, refused.json()["ran"]) == (422, "no")
        assert "of type list" in refused.json()["detail"]
        assert "secret" not in refused.text + caplog.text
        assert (await client.get("/read")).json() == {"user": "42", "a": 1}


def test_a_websocket_sets_and_clears_its_session_too(state):
    @websocket("/put")
    async def put(socket: WebSocket[Any, Any, Any]) -> None:
        socket.set_session({"b": 2})
        await socket.accept()
        await socket.close()

    @websocket("/other")
    async def other(socket: WebSocket[Any, Any, Any]) -> None:
        socket.clear_session()
        socket.set_session({"c": 3})
        await socket.accept()
        await socket.close()

    @websocket("/logout")
    async def logout(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        socket.clear_session()
        await socket.close()

    with TestClient(service(state, login, read, put, other, logout)) as client:
        client.post("/login")
        with client.websocket_connect("/put"):
            pass
        assert client.get("/read").json() == {"user": "42", "b": 2}
        with client.websocket_connect("/logout"):
            pass
        assert client.get("/read").json() == {"user": None}
        client.post("/login")
        with client.websocket_connect("/other"):
            pass
        assert client.get("/read").json() == {"user": None}  # it takes no cookie of a handshake
