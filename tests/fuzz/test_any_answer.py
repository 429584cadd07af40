"""A Redis that answers anything: a documented error within the deadline, and all is well again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from random import Random
from typing import NamedTuple

import hiredis
import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fuzz.between import Between
from tests.fuzz.calls import ALL, NUMBERS, WITHIN, Calls
from tests.fuzz.effort import effort
from tests.fuzz.resp import UNFINISHED, spoiled, wire, written
from tests.integration.past import give_past

from aragora_redis.errors import AragoraRedisError
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

SLACK = 2.0
"""Seconds that a call may take beyond its deadline: the machine is shared."""


class Fed(NamedTuple):
    """A state whose Redis answers through somebody."""

    calls: Calls
    between: Between


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fed(standalone_lab):
    server = standalone_lab.node("primary").address
    between = Between(server)
    own = {"ARAGORA_KEY_PREFIX": "fed", "ARAGORA_REDIS_DEADLINE": str(WITHIN)}
    await asyncio.to_thread(give_past, standalone_lab, **own)
    async with between.listening():
        env = standalone_lab.env() | own
        env["ARAGORA_REDIS_URL"] = env["ARAGORA_REDIS_URL"].replace(
            str(server), str(between.address)
        )
        async with SharedState(from_env(env)) as state:
            assert state.ready
            yield Fed(Calls(state), between)


async def call(fed, ask, tamper, faults):
    """Ask while answers are tampered with, and then until all is well."""
    fed.between.tamper = tamper
    began = time.monotonic()
    try:
        told = repr(await getattr(fed.calls, ask)(f"fed-{next(NUMBERS)}"))
    except AragoraRedisError as error:
        told = f"{error} {error!r}"
    finally:
        fed.between.tamper = None
    took = time.monotonic() - began
    faults.assert_none()
    calls = 6  # of the longest
    assert took < calls * WITHIN + SLACK, told
    end = time.monotonic() + 15
    while not await fed.calls.well():
        assert time.monotonic() < end, fed.calls.state.status()
        await asyncio.sleep(0.02)
    faults.assert_none()


@pytest.mark.asyncio(loop_scope="module")
@effort(2)
@example(ask="check", answers=[b""])  # each one after it is another's
@example(ask="check", answers=[b":1\r\n:1\r\n"])
@given(ask=st.sampled_from(ALL), answers=st.lists(st.none() | wire, min_size=1, max_size=6))
async def test_whatever_is_sent_in_place_of_a_reply(fed, faults, ask, answers):
    coming = deque(answers)

    def tamper(_command: list[bytes], reply: bytes) -> bytes:
        answer = coming.popleft() if coming else None
        return reply if answer is None else answer

    await call(fed, ask, tamper, faults)


@pytest.mark.asyncio(loop_scope="module")
@effort(14)
@given(
    ask=st.sampled_from(ALL),
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.1, 0.5, 1.0]),
)
async def test_a_reply_of_which_a_part_is_something_else(fed, faults, ask, seed, share):
    random = Random(seed)

    def tamper(_command: list[bytes], reply: bytes) -> bytes:
        if random.random() > share:
            return reply
        reader = hiredis.Reader()
        reader.feed(reply)
        return written(spoiled(reader.gets(), random))

    await call(fed, ask, tamper, faults)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("answer", UNFINISHED[:1], ids=repr)
async def test_a_reply_that_does_not_end_is_given_up(fed, faults, answer):
    await call(fed, "check", lambda _command, _reply: answer, faults)
