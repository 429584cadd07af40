"""What a user's code is to a type checker: every value that comes back has a type of its own."""

from __future__ import annotations

from typing import assert_type

from fastapi import FastAPI

from aragora_redis import Decision, Level, Receipt, SharedState, sync
from aragora_redis.errors import AragoraRedisError, CircuitOpenError, Ran
from aragora_redis.events import Event, ViewChanged
from aragora_redis.sessions.stored import Session, SessionInfo
from aragora_redis.web.fastapi import RateLimit, install, lifespan


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
    assert_type(await state.sessions.get("id"), Session | None)
    assert_type(await state.sessions.of_user("42"), list[SessionInfo])

    async with state.circuits["llm"]:
        assert_type(await ask_the_model("?"), int)

    guarded = state.circuits["llm"].protect()(ask_the_model)
    assert_type(await guarded("?"), int)


def use_from_threads(state: sync.SharedState) -> None:
    assert_type(state.rate_limits.check("api", "ip:203.0.113.9"), Decision)
    assert_type(state.tokens.revoke("jti", expires_at=1e9), Receipt)
    assert_type(state.sessions.create("42"), Session)
    with state.circuits["llm"]:
        pass

    @state.circuits["llm"].protect()
    def length(text: str) -> int:
        return len(text)

    assert_type(length("?"), int)


def handle(error: AragoraRedisError) -> str:
    assert_type(error.ran, Ran)
    if isinstance(error, CircuitOpenError):
        assert_type(error.retry_after, float)
    return error.remedy


def listen(state: SharedState) -> None:
    def hear(event: Event) -> None:
        if isinstance(event, ViewChanged):
            assert_type(event.epoch, int | None)

    state.events.subscribe(hear)


def serve(state: SharedState) -> FastAPI:
    app = FastAPI(lifespan=lifespan(state))
    install(app, state)
    RateLimit("api", cost=2)
    return app
