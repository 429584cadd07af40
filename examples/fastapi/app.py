"""A small service with logins, limits, revocable tokens and an upstream that may fail."""

from __future__ import annotations

import os
import time
import uuid
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from aragora_redis import SharedState
from aragora_redis.jwt import VerifiedToken
from aragora_redis.web.fastapi import RateLimit, RequireToken, install, lifespan
from aragora_redis.web.starlette import SessionMiddleware, WebSession, session_of

TOKEN_LIFETIME = 900.0

state = SharedState.from_env()
app = FastAPI(title="Example", lifespan=lifespan(state))
install(app, state)
# Browsers send a `__Host-` cookie over HTTPS only; over plain HTTP this must be said.
app.add_middleware(
    SessionMiddleware,
    state=state,
    secure=os.environ.get("EXAMPLE_PLAIN_HTTP") != "1",
    exclude=["/healthz"],
)

Session = Annotated[WebSession, Depends(session_of)]
Token = Annotated[VerifiedToken, Depends(RequireToken())]


class Login(BaseModel):
    user: str


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/cart/{item}")
async def put_into_cart(item: str, session: Session) -> dict[str, Any]:
    """Works without a login; the cart moves along when there is one."""
    session.setdefault("cart", []).append(item)
    return dict(session)


@app.post("/login", dependencies=[Depends(RateLimit("api", cost=10))])
async def login(who: Login, session: Session) -> dict[str, str]:
    """Logs in whoever asks; a real service would ask for a password here."""
    await session.login(who.user)
    now = time.time()
    claims = {"jti": uuid.uuid4().hex, "sub": who.user, "iat": now, "exp": now + TOKEN_LIFETIME}
    secret = state.settings.jwt.secret
    assert secret is not None  # noqa: S101 - RequireToken has refused to work without it
    return {"token": jwt.encode(claims, secret.reveal(), algorithm="HS256")}


@app.get("/profile")
async def profile(session: Session) -> dict[str, Any]:
    return {"user": session.user, "cart": session.get("cart", [])}


@app.post("/logout")
async def logout(session: Session) -> dict[str, bool]:
    """Ends the session for good, also for requests that are still under way."""
    await session.end()
    return {"ended": True}


@app.get("/api/me", dependencies=[Depends(RateLimit("api"))])
async def me(token: Token) -> dict[str, str | None]:
    return {"user": token.user}


@app.post("/api/logout")
async def revoke(token: Token) -> dict[str, str]:
    """Revokes the token itself: from now on no instance accepts it."""
    ends = token.claims["exp"]
    receipt = await state.tokens.revoke(token.id, expires_at=ends, reason="logout")
    return {"level": receipt.level.word}


async def upstream(*, up: bool) -> str:
    if not up:
        raise ConnectionError("the upstream does not answer")
    return "42"


@app.get("/quote")
async def quote(*, up: bool = True) -> dict[str, str]:
    """Spares the upstream while it fails: 502 at first, then 503 at once until it may be tried."""
    async with state.circuits["fastapi-quotes"]:
        return {"quote": await upstream(up=up)}


@app.exception_handler(ConnectionError)
async def bad_gateway(_: Request, error: ConnectionError) -> PlainTextResponse:
    return PlainTextResponse(str(error), status_code=502)
