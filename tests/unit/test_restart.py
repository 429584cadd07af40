"""A state is started again: in another event loop, in a forked process, after a cancelled start."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from math import inf

import pytest
from tests.integration.fleet import until
from tests.ports import free_port

from aragora_redis import SharedState
from aragora_redis.errors import (
    CircuitFullError,
    LimitExceededError,
    NotReadyError,
    NotStartedError,
)
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings, from_env
from aragora_redis.testing import memory_state

POLICIES = parse_policies(
    """
[limits.api]
rate = "2 per minute"
[circuits.narrow]
max_concurrent = 1
""",
    source="test",
)
CLAIMS = {"sub": "7", "iat": 0, "jti": "t"}


@pytest.fixture
def of_nobody():
    """A state whose Redis is not there."""
    return SharedState(from_env({"ARAGORA_REDIS_URL": f"redis://127.0.0.1:{free_port()}"}))


def in_child(work):
    """What a forked process makes of it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said, went_well = None, False
        try:
            said, went_well = work(), True
        except BaseException as error:  # noqa: BLE001 - the parent shows it
            said = repr(error)
        finally:
            os.write(writer, json.dumps([said, went_well]).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        said, went_well = json.loads(told.read())
    os.waitpid(pid, 0)
    assert went_well, said
    return said


def identity(state):
    return [state.boot_id, state._redis.feed.nonce.decode(), state._redis.presence._row_id]


async def started(state):
    state.start()
    try:
        return identity(state)
    finally:
        await state.close()


# --- forks ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_each_worker_that_is_forked_before_the_start_is_an_instance_of_its_own(of_nobody):
    """Those of `gunicorn --preload` share the object: with one boot id they would share one share
    of each limit, one place in half-open circuits, and one nonce in the revocations."""
    of_all = [identity(of_nobody)]
    of_all += [in_child(lambda: asyncio.run(started(of_nobody))) for _ in range(2)]
    for of_each in zip(*of_all, strict=True):
        assert len(set(of_each)) == 3
    assert asyncio.run(started(of_nobody)) == of_all[0], "the parent's is its own"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_is_told_to_start_what_its_parent_has_started(of_nobody):
    loop = asyncio.new_event_loop()

    async def start():
        of_nobody.start()

    async def child():
        with pytest.raises(NotStartedError, match=r"forked.*start it in each worker"):
            await of_nobody.rate_limits.check("api", "u")
        with pytest.raises(NotStartedError):
            of_nobody.tokens.is_revoked(CLAIMS)
        await of_nobody.close()  # which is not its own
        return await started(of_nobody)

    try:
        loop.run_until_complete(start())
        before = identity(of_nobody)
        after = in_child(lambda: asyncio.run(child()))
        assert not set(before) & set(after)
        assert of_nobody.life.lives
        assert identity(of_nobody) == before, "the parent goes on"
        loop.run_until_complete(of_nobody.close())
    finally:
        loop.close()


# --- once more --------------------------------------------------------------------------


def test_it_vouches_for_nothing_by_what_it_knew_before(of_nobody):
    async def first():
        of_nobody.start()
        of_nobody._ready, of_nobody.revocations.vouched_until = True, inf  # Redis was there
        assert not of_nobody.tokens.is_revoked(CLAIMS)
        await of_nobody.close()
        assert not of_nobody.ready

    async def second():
        of_nobody.start()
        try:
            assert not of_nobody.ready
            with pytest.raises(NotReadyError):
                of_nobody.tokens.is_revoked(CLAIMS)
        finally:
            await of_nobody.close()

    asyncio.run(first())
    before = identity(of_nobody)
    asyncio.run(second())
    assert not set(before) & set(identity(of_nobody))


def test_what_users_hold_goes_on_in_another_loop(caplog):
    """`with TestClient(app)`, several times."""
    caplog.set_level(logging.ERROR)
    state = SharedState(Settings(), policies=POLICIES)
    limits, tokens, sessions, circuit = (
        state.rate_limits,
        state.tokens,
        state.sessions,
        state.circuits["llm"],
    )
    state.audit.via = "http"

    @limits.limit("api", "u")
    @circuit.protect()
    async def work():
        return "done"

    async def use(turn):
        async with state:
            async with circuit:
                await until(lambda: state.circuits._wake._waiters and state.audit._wake._waiters)
            if turn < 2:
                assert await work() == "done"
            else:
                with pytest.raises(LimitExceededError):
                    await work()
            await tokens.revoke(f"t{turn}", expires_at=time.time() + 60, reason="why", actor="me")
            await sessions.create("42")
            await state.audit.recent()
            assert len(await sessions.of_user("42")) == turn + 1
            assert await tokens.reason({"jti": "t0"}) == "why", "as a Redis would have it"
            acts = (await state.audit.recent()).acts
            assert [act.via for act in acts] == ["http"] * (turn + 1)
            assert state.circuits["llm"] is circuit
            assert state.status().in_flight.get("llm", 0) == 0
        with pytest.raises(NotStartedError):
            tokens.is_revoked({"jti": "t0"})

    for turn in range(3):
        asyncio.run(use(turn))
    assert not caplog.records, caplog.text


async def test_a_call_that_outlives_its_run_gives_its_place_back_there():
    state = SharedState(Settings(), policies=POLICIES)
    circuit = state.circuits["narrow"]
    async with state:
        await circuit.__aenter__()
        guard = circuit.guard()
        with pytest.raises(CircuitFullError):
            await guard.__aenter__()
    async with state:
        async with circuit:
            pass
        await circuit.__aenter__()
        await circuit.__aexit__(None, None, None)
        await circuit.__aexit__(None, None, None)
        assert circuit.bulkhead.in_flight == 0
        async with circuit:
            with pytest.raises(CircuitFullError):
                await guard.__aenter__()


async def test_policies_that_were_put_in_force_stay_so():
    state = SharedState(Settings())
    state.use_policies(POLICIES)
    for _ in range(2):
        async with state:
            assert state.rate_limits.policy("api").burst == 2
            assert state.circuits["narrow"].policy.max_concurrent == 1


async def test_a_file_is_followed_over_a_pause(tmp_path):
    file = tmp_path / "policies.toml"
    file.write_text('[limits.api]\nrate = "2 per minute"\n')
    state = SharedState(from_env({"ARAGORA_POLICIES": str(file)}))
    async with state:
        pass
    file.write_text('[limits.api]\nrate = "30 per minute"\n')
    async with state:
        await until(lambda: state.rate_limits.policy("api").burst == 30)


async def test_one_in_memory_that_was_used_before_its_start_goes_on():
    state = memory_state()
    await state.tokens.revoke("t", expires_at=time.time() + 60)
    boot_id = state.boot_id
    async with state:
        assert state.boot_id == boot_id
        state.start()  # it is
        assert state.tokens.is_revoked(CLAIMS)


async def test_it_is_not_started_while_it_is_closed_or_used_elsewhere(of_nobody):
    of_nobody.start()
    closing = asyncio.create_task(of_nobody.close())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="being closed"):
        of_nobody.start()
    await closing
    of_nobody.start()
    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, started(of_nobody))
    await of_nobody.close()


def test_one_whose_loop_has_gone_is_started_anew(of_nobody):
    async def start():
        of_nobody.start()
        return identity(of_nobody)

    before = asyncio.run(start())  # and never closed
    assert not set(asyncio.run(started(of_nobody))) & set(before)


# --- cancelled --------------------------------------------------------------------------


async def test_who_is_cancelled_as_it_waits_to_be_ready_leaves_nothing_behind(of_nobody):
    before = asyncio.all_tasks()

    async def use():
        async with of_nobody:
            pytest.fail("it is ready")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(use(), 0.1)
    assert asyncio.all_tasks() == before
    with pytest.raises(NotStartedError):
        of_nobody.tokens.is_revoked(CLAIMS)
