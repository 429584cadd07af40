"""What a user's code is to a type checker: every value that comes back has a type of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

import httpx
from django.http import HttpRequest, HttpResponse
from fastapi import FastAPI
from flask import Flask, Response, jsonify
from litestar import Litestar, Request, get

from aragora_redis import (
    AragoraRedisError,
    CircuitOpenError,
    Decision,
    Events,
    Level,
    LimitExceededError,
    OutageError,
    Receipt,
    Session,
    Settings,
    SharedState,
    sync,
)
from aragora_redis.errors import Ran
from aragora_redis.events import Event, ViewChanged
from aragora_redis.jwt import VerifiedToken
from aragora_redis.sessions.stored import SessionInfo
from aragora_redis.web import django, fastapi, flask, litestar
from aragora_redis.web.flask import limited, require_token
from aragora_redis.web.httpx import CircuitTransport, LimitTransport
from aragora_redis.web.litestar import SessionMiddleware, mounted, session_of


async def ask_the_model(prompt: str) -> int:
    return len(prompt)


async def use(state: SharedState) -> None:
    decision = await state.rate_limits.check("api", "ip:203.0.113.9")
    assert_type(decision, Decision)
    assert_type(decision.allowed, bool)
    assert_type(decision.retry_after, float)

    receipt = await state.tokens.revoke("jti", expires_at=1e9, reason="logout")
    assert_type(receipt, Receipt)
    assert_type(receipt.level, Level)
    assert_type(state.tokens.is_revoked({"jti": "jti"}), bool)

    session = await state.sessions.create("42", {"theme": "dark"})
    assert_type(session, Session)
    assert_type(await state.sessions.create(idle=timedelta(hours=1), within=0.5), Session)
    assert_type(await state.sessions.get("id"), Session | None)
    assert_type(await state.sessions.of_user("42"), list[SessionInfo])

    async with state.circuits["llm"]:
        assert_type(await ask_the_model("?"), int)

    guarded = state.circuits["llm"].protect()(ask_the_model)
    assert_type(await guarded("?"), int)


def use_from_threads(state: sync.SharedState) -> None:
    assert_type(state.rate_limits.check("api", "ip:203.0.113.9"), Decision)
    assert_type(state.tokens.revoke("jti", expires_at=1e9), Receipt)
    assert_type(state.sessions.create("42", absolute=timedelta(days=1)), Session)
    assert_type(state.rate_limits.acquire("api", "u", wait=timedelta(seconds=2)), Decision)
    with state.circuits["llm"]:
        pass

    @state.circuits["llm"].protect()
    def length(text: str) -> int:
        return len(text)

    assert_type(length("?"), int)


def handle(error: AragoraRedisError) -> str:
    assert_type(error.ran, Ran)
    if isinstance(error, CircuitOpenError | LimitExceededError | OutageError):
        assert_type(error.retry_after, float)
    return error.remedy


def listen(state: SharedState) -> None:
    def hear(event: Event) -> None:
        if isinstance(event, ViewChanged):
            assert_type(event.epoch, int | None)

    assert_type(state.events, Events)
    state.events.subscribe(hear)


def build(settings: Settings) -> SharedState:
    return SharedState(settings)


def serve(state: SharedState) -> FastAPI:
    app = FastAPI(lifespan=fastapi.lifespan(state))
    fastapi.install(app, state)
    fastapi.RateLimit("api", cost=2)
    return app


def serve_flask(shared: sync.SharedState) -> Flask:
    app = Flask(__name__)
    flask.Aragora(app, shared)
    app.before_request(flask.RateLimit("api"))

    @require_token("orders:read")
    @limited("api", subject=lambda: f"user:{flask.session.user}")
    def orders(number: int) -> Response:
        flask.session.rotate()
        assert_type(flask.session.of_user(), list[SessionInfo])
        assert_type(flask.state.ready, bool)
        return jsonify(number=number)

    assert_type(orders(1), Response)
    app.add_url_rule("/<int:number>", view_func=orders)
    return app


@get("/", guards=[litestar.RequireToken("orders:read"), litestar.RateLimit("api")])
async def home(request: Request[Any, Any, Any]) -> str | None:
    await session_of(request).rotate()
    return session_of(request).user


def serve_litestar(state: SharedState) -> Litestar:
    return Litestar(
        [home],
        plugins=[litestar.AragoraPlugin(state)],
        middleware=[mounted(SessionMiddleware, state=state, max_age=timedelta(days=30))],
    )


@django.require_token("orders:read")
@django.limited("api", subject=lambda request: f"user:{request.user.pk}")
def orders_of_django(request: HttpRequest, number: int) -> HttpResponse:
    assert_type(django.session_of(request).handle, str | None)
    assert_type(django.token_of(request), VerifiedToken)
    assert_type(django.get_state().sessions.of_user("42"), list[SessionInfo])
    return HttpResponse(str(number))


@django.limited("api")
async def orders_under_asgi(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await django.session_of(request).aget("orders", ""))


def ask_django(request: HttpRequest) -> HttpResponse:
    return orders_of_django(request, 1)


def client_of(state: SharedState) -> httpx.AsyncClient:
    spared = CircuitTransport(state.circuits)
    return httpx.AsyncClient(transport=LimitTransport(state.rate_limits, "api", transport=spared))
