"""Changes of a session that may have run, and what is known of it from before them."""

from __future__ import annotations

import asyncio

import pytest

from aragora_redis import SharedState
from aragora_redis.errors import LinkDownError, OutageError
from aragora_redis.settings.model import Settings


@pytest.fixture
async def state():
    async with SharedState(Settings()) as made:
        yield made


async def update(sessions, made):
    await sessions.update(made, set={"admin": False})


async def rotate(sessions, made):
    await sessions.rotate(made)


async def end_unchanged(sessions, made):
    await sessions.end_unchanged(made)


@pytest.mark.parametrize("change", [update, rotate, end_unchanged])
async def test_i6_no_copy_is_given_from_before_a_change_whose_caller_was_cancelled(state, change):
    """It has run, and its answer is on its way: a client that has gone cancels its request."""
    sessions, run, has_run = state.sessions, state._executor.run, asyncio.Event()
    made = await sessions.create("42", {"admin": True})

    async def unheard(operation, *, within):
        await run(operation, within=within)
        has_run.set()
        await asyncio.Event().wait()

    state._executor.run = unheard
    changing = asyncio.create_task(change(sessions, made))
    await has_run.wait()
    changing.cancel()
    await asyncio.gather(changing, return_exceptions=True)
    state._executor.run = run
    state._executor.outage = LinkDownError("Redis is away")
    with pytest.raises(OutageError):
        await sessions.get(made.id)


async def test_a_change_that_did_not_run_leaves_the_copy(state):
    made = await state.sessions.create("42", {"admin": True})
    state._executor.outage = LinkDownError("Redis is away")
    with pytest.raises(OutageError):
        await update(state.sessions, made)
    assert (await state.sessions.get(made.id)).source == "copy"
