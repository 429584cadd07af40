"""A small Litestar service with logins, limits, revocable tokens and an upstream that may fail."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from litestar import Litestar, Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from aragora_redis import SharedState
from aragora_redis.jwt import VerifiedToken
from aragora_redis.web.litestar import (
    AragoraPlugin,
    RateLimit,
    RequireToken,
    SessionMiddleware,
    mounted,
    session_of,
)

TOKEN_LIFETIME = 900.0

AnyRequest = Request[Any, Any, Any]
Authorized = Request[str | None, VerifiedToken, Any]


@dataclass
class Login:
    user: str


@get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@post("/cart/{item:str}")
async def put_into_cart(request: AnyRequest, item: FromPath[str]) -> dict[str, Any]:
    """Works without a login; the cart moves along when there is one."""
    session = session_of(request)
    session.setdefault("cart", []).append(item)
    return dict(session)


@post("/login", guards=[RateLimit("api", cost=10)])
async def login(
    request: AnyRequest, data: Login, aragora: NamedDependency[SharedState]
) -> dict[str, str]:
    """Logs in whoever asks; a real service would ask for a password here."""
    await session_of(request).login(data.user)
    now = time.time()
    claims = {"jti": uuid.uuid4().hex, "sub": data.user, "iat": now, "exp": now + TOKEN_LIFETIME}
    secret = aragora.settings.jwt.secret
    assert secret is not None  # noqa: S101 - RequireToken has refused to work without it
    return {"token": jwt.encode(claims, secret.reveal(), algorithm="HS256")}


@get("/profile")
async def profile(request: AnyRequest) -> dict[str, Any]:
    session = session_of(request)
    return {"user": session.user, "cart": session.get("cart", [])}


@post("/logout")
async def logout(request: AnyRequest) -> dict[str, bool]:
    """Ends the session for good, also for requests that are still under way."""
    await session_of(request).end()
    return {"ended": True}


@get("/me", guards=[RateLimit("api")])
async def me(request: Authorized) -> dict[str, str | None]:
    return {"user": request.user}


@post("/logout")
async def revoke(request: Authorized, aragora: NamedDependency[SharedState]) -> dict[str, str]:
    """Revokes the token itself: from now on no instance accepts it."""
    token = request.auth
    ends = token.claims["exp"]
    receipt = await aragora.tokens.revoke(token.id, expires_at=ends, reason="logout")
    return {"level": receipt.level.word}


async def upstream(*, up: bool) -> str:
    if not up:
        raise ConnectionError("the upstream does not answer")
    return "42"


@get("/quote")
async def quote(
    aragora: NamedDependency[SharedState],
    up: FromQuery[bool] = True,  # noqa: FBT002 - a parameter of the query
) -> dict[str, str]:
    """Spares the upstream while it fails: 502 at first, then 503 at once until it may be tried."""
    async with aragora.circuits["litestar-quotes"]:
        return {"quote": await upstream(up=up)}


def bad_gateway(_: AnyRequest, error: ConnectionError) -> Response[str]:
    return Response(str(error), status_code=502, media_type="text/plain")


def create_app(state: SharedState | None = None) -> Litestar:
    """The service; its tests give it a state in memory."""
    state = state or SharedState.from_env()
    # Browsers send a `__Host-` cookie over HTTPS only; over plain HTTP this must be said.
    sessions = mounted(
        SessionMiddleware,
        state=state,
        secure=os.environ.get("EXAMPLE_PLAIN_HTTP") != "1",
        exclude=["/healthz"],
    )
    api = Router("/api", route_handlers=[me, revoke], guards=[RequireToken()])
    return Litestar(
        [healthz, put_into_cart, login, profile, logout, quote, api],
        plugins=[AragoraPlugin(state)],
        middleware=[sessions],
        exception_handlers={ConnectionError: bad_gateway},
    )
