"""What users test with, tested: time, outages, fixtures."""

from __future__ import annotations

import pytest
from tests.ports import free_port

from aragora_redis.errors import (
    CircuitOpenError,
    InvalidInputError,
    LimitUnavailableError,
    OutageError,
    SettingsError,
)
from aragora_redis.events import Decided, Event
from aragora_redis.settings import Settings
from aragora_redis.sync import SharedState as SyncSharedState
from aragora_redis.testing import FakeClock, memory_state, outage
from aragora_redis.testing.sync import outage as outage_of_threads

pytest_plugins = ["aragora_redis.testing.plugin"]
POLICIES = """
[limits.login]
rate = "2 per minute"
on_outage = "fail-open"
[limits.strict]
rate = "2 per minute"
on_outage = "fail-closed"
[sessions]
idle = "10 minutes"
absolute = "1 hour"
"""


def test_time_stands_still_until_it_is_moved():
    clock = FakeClock(1000.0)
    before = clock.monotonic()
    clock.advance(2.5)
    assert (clock.wall(), clock.monotonic() - before) == (1002.5, 2.5)
    with pytest.raises(InvalidInputError, match="0 to"):
        clock.advance(-1)


async def test_limits_come_back_with_time():
    clock = FakeClock()
    async with memory_state(POLICIES, clock=clock) as state:
        allowed = [(await state.rate_limits.check("login", "u")).allowed for _ in range(3)]
        assert allowed == [True, True, False]
        clock.advance(29)
        assert not (await state.rate_limits.check("login", "u")).allowed
        clock.advance(1)
        assert (await state.rate_limits.check("login", "u")).allowed
        assert await state.rate_limits.reset("login", "u")
        assert not await state.rate_limits.reset("login", "u")


async def test_sessions_end_when_nobody_uses_them_and_at_their_absolute_end():
    clock = FakeClock()
    async with memory_state(POLICIES, clock=clock) as state:
        idle, used = await state.sessions.create(), await state.sessions.create()
        for _ in range(5):
            clock.advance(599)
            assert await state.sessions.get(used.id) is not None
        assert await state.sessions.get(idle.id) is None
        clock.advance(599)
        await state.sessions.get(used.id)
        clock.advance(10)
        assert await state.sessions.get(used.id) is None


async def test_an_outage_is_met_as_without_redis(aragora_clock):
    state = memory_state(POLICIES, clock=aragora_clock, settings=Settings(fail_open=False))
    async with state:
        session = await state.sessions.create(data={"a": 1})
        await state.tokens.revoke("t", expires_at=aragora_clock.wall() + 60)
        async with outage(state):
            assert [(await state.rate_limits.check("login", "u")).allowed for _ in range(3)] == [
                True, True, False,
            ]  # fmt: skip
            heard: list[Event] = []
            state.events.subscribe(heard.append)
            with pytest.raises(LimitUnavailableError):
                await state.rate_limits.check("strict", "u")
            (refused,) = heard
            assert isinstance(refused, Decided)
            assert (refused.policy, refused.allowed) == ("strict", False)
            assert refused.source == "unavailable"
            copy = await state.sessions.get(session.id)
            assert copy is not None
            assert copy.source == "copy"
            with pytest.raises(OutageError):
                await state.sessions.update(session, set={"a": 2})
            aragora_clock.advance(11)
            with pytest.raises(OutageError):
                await state.sessions.get(session.id)
            assert state.tokens.is_revoked({"jti": "t"})
        after = await state.sessions.get(session.id)
        assert after is not None
        assert after.data == {"a": 1}
        assert not (await state.rate_limits.check("login", "u")).allowed, "charged on return"


async def test_circuits_open_and_close(aragora_state, aragora_clock):
    async with aragora_state as state:
        circuit = state.circuits["llm"]
        for _ in range(5):
            with pytest.raises(ConnectionError):
                async with circuit:
                    raise ConnectionError
        await circuit.report_evidence()
        with pytest.raises(CircuitOpenError):
            await circuit.acquire()
        aragora_clock.advance(1.3)
        for _ in range(3):
            async with circuit:
                pass
        assert circuit.state == "closed"


async def test_the_fixture_is_ready_without_being_started(aragora_state):
    assert not aragora_state.tokens.is_revoked({"jti": "t"})
    assert (await aragora_state.rate_limits.check("api", "u")).allowed


def test_wrong_policies_are_told():
    with pytest.raises(SettingsError, match="line 2"):
        memory_state('[limits.a]\nrate = "often"\n')


def test_a_state_for_threads_is_there_and_can_lose_its_redis(aragora_sync_state, aragora_clock):
    session = aragora_sync_state.sessions.create("42")
    with outage_of_threads(aragora_sync_state):
        with pytest.raises(OutageError):
            aragora_sync_state.sessions.update(session, set={"a": 1})
        assert aragora_sync_state.rate_limits.policy("api").name == "api"
    aragora_sync_state.sessions.update(session, set={"a": 1})
    aragora_clock.advance(12 * 3600 + 1)
    assert aragora_sync_state.sessions.get(session.id) is None


def test_only_a_state_in_memory_can_lose_its_redis_so_for_threads_too():
    state = SyncSharedState.from_env({"ARAGORA_REDIS_URL": f"redis://127.0.0.1:{free_port()}"})
    state.start()
    try:
        with pytest.raises(TypeError), outage_of_threads(state):
            pass
    finally:
        state.close()
