"""Before `start` and after `close` nothing is answered; in between an outage is met as one."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.ports import free_port

from aragora_redis import LimitCheck, SharedState, sync
from aragora_redis.errors import LimitUnavailableError, NotReadyError, NotStartedError
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings, from_env
from aragora_redis.testing import memory_state

POLICIES = parse_policies('[limits.api]\nrate = "2 per minute"', source="test")
EXPIRES = time.time() + 600
CLAIMS = {"sub": "7", "iat": 0, "jti": "t"}
FACES: dict[str, Callable[[Any], Any]] = {
    "check": lambda s: s.rate_limits.check("api", "u"),
    "acquire": lambda s: s.rate_limits.acquire("api", "u", wait=1.0),
    "check_all": lambda s: s.rate_limits.check_all(LimitCheck("api", "u")),
    "settle": lambda s: s.rate_limits.settle("r", 1),
    "keep": lambda s: s.rate_limits.keep("r"),
    "reset": lambda s: s.rate_limits.reset("api", "u"),
    "peek": lambda s: s.rate_limits.peek("api", "u"),
    "set_limit": lambda s: s.rate_limits.set_limit("api", "u", None),
    "own_limits": lambda s: s.rate_limits.own_limits("api"),
    "verify": lambda s: s.tokens.verify("t"),
    "is_revoked": lambda s: s.tokens.is_revoked(CLAIMS),
    "note": lambda s: s.tokens.note(CLAIMS),
    "revoke": lambda s: s.tokens.revoke("t", expires_at=EXPIRES),
    "revoke_user": lambda s: s.tokens.revoke_user("7"),
    "pardon": lambda s: s.tokens.pardon(jti="t"),
    "count": lambda s: s.tokens.count(),
    "list": lambda s: s.tokens.list(),
    "import": lambda s: s.tokens.import_all([]),
    "begin": lambda s: s.refresh_tokens.begin("7"),
    "rotate": lambda s: s.refresh_tokens.rotate(CLAIMS),
    "is_used_up": lambda s: s.refresh_tokens.is_used_up(CLAIMS),
    "create": lambda s: s.sessions.create("7"),
    "get": lambda s: s.sessions.get("s"),
    "of_cookie": lambda s: s.sessions.of_cookie("s"),
    "of_user": lambda s: s.sessions.of_user("7"),
    "end": lambda s: s.sessions.end("s"),
    "end_user": lambda s: s.sessions.end_user("7"),
    "permit": lambda s: s.circuits["llm"].acquire(),
    "circuits": lambda s: s.circuits.all(),
    "circuit": lambda s: s.circuits.look("llm"),
    "reporters": lambda s: s.circuits.reporters("llm"),
    "force": lambda s: s.circuits.force("llm", "open"),
    "recent": lambda s: s.audit.recent(),
}


async def _answer(ask: Callable[[SharedState], Any], state: SharedState) -> object:
    said = ask(state)
    return await said if inspect.isawaitable(said) else said


async def _refuses_all(state: SharedState) -> None:
    for name, ask in FACES.items():
        with pytest.raises(NotStartedError, match="not started, or was closed"):
            pytest.fail(f"{name} has answered {await _answer(ask, state)}")
    with pytest.raises(NotStartedError):
        async with state.rate_limits.reserve("api", "u", 1):
            pytest.fail("it was reserved")
    with pytest.raises(NotStartedError):
        async with state.circuits["llm"]:
            pytest.fail("it was let through")


async def test_a_state_answers_from_start_to_close():
    state = SharedState(Settings(), policies=POLICIES)
    await _refuses_all(state)
    async with state:
        assert (await state.rate_limits.check("api", "u", cost=2)).allowed
        assert not (await state.rate_limits.check("api", "u")).allowed
        await state.tokens.revoke("t", expires_at=EXPIRES)
        under_way = state.circuits["llm"].guard()
        await under_way.__aenter__()
    await _refuses_all(state)
    await under_way.end("ok")


async def test_one_in_memory_is_ready_at_once():
    state = memory_state()
    assert not state.tokens.is_revoked(CLAIMS)
    await state.close()
    await _refuses_all(state)


async def test_a_redis_that_is_not_reached_is_an_outage_and_no_slip():
    nobody = f"redis://127.0.0.1:{free_port()}"
    for fail_open in ("true", "false"):
        settings = from_env(
            {
                "ARAGORA_REDIS_URL": nobody,
                "ARAGORA_EXPECTED_INSTANCES": "1",
                "ARAGORA_RATE_LIMIT_FAIL_OPEN": fail_open,
            }
        )
        state = SharedState(settings, policies=POLICIES)
        await _refuses_all(state)
        state.start()
        try:
            if fail_open == "true":
                assert (await state.rate_limits.check("api", "u")).source == "local"
            else:
                with pytest.raises(LimitUnavailableError):
                    await state.rate_limits.check("api", "u")
            with pytest.raises(NotReadyError):
                state.tokens.is_revoked(CLAIMS)
            async with state.circuits["llm"]:
                pass
        finally:
            await state.close()
        await _refuses_all(state)


def test_the_same_for_threads():
    state = sync.SharedState(Settings(), policies=POLICIES)
    guard = state.circuits["llm"].guard()
    for _ in range(2):
        for name, ask in FACES.items():
            with pytest.raises(NotStartedError):
                pytest.fail(f"{name} has answered {ask(state)}")
        with pytest.raises(NotStartedError):
            state.rate_limits.reserve("api", "u", 1)
        with state:
            assert state.rate_limits.check("api", "u").allowed
            guard.__enter__()
        guard.end("ok")
