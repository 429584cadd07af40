"""I6: an end reaches all ids of a session: those that a failover brings back, and those it was
given elsewhere.
"""

from __future__ import annotations

import copy

import pytest
from tests.integration.fleet import until

from aragora_redis import SharedState
from aragora_redis.errors import LinkDownError
from aragora_redis.sessions import operations
from aragora_redis.sessions.ids import fresh_id
from aragora_redis.settings.model import Settings
from aragora_redis.state.sessions.ends import SessionEnds


@pytest.fixture
async def state():
    async with SharedState(Settings()) as made:
        yield made


class Data:
    """What is stored now, to be gone back to."""

    def __init__(self, state):
        self._memory = state._executor._memory
        self._kept = self._of_now()

    def _of_now(self):
        return copy.deepcopy((self._memory._values, self._memory._expiries))

    def roll_back(self):
        self._memory._values, self._memory._expiries = copy.deepcopy(self._kept)


async def one_by_handle(sessions, mine, _kept):
    return await sessions.end_one_of("42", mine.handle)


async def all_but_one(sessions, _mine, kept):
    return await sessions.end_user("42", keep=kept.handle)


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("end", [one_by_handle, all_but_one])
async def test_an_end_by_list_whose_removal_comes_after_a_failover(
    state, monkeypatch, end, answers
):
    """The primary that was listed from knew of the rotation, the one that removes does not."""
    sessions = state.sessions
    made, kept = await sessions.create("42", {"a": 1}), await sessions.create("42")
    before = Data(state)
    rotated = await sessions.rotate(made)
    remove = SessionEnds._remove

    async def after_a_failover(ends, *given):
        monkeypatch.undo()
        before.roll_back()
        return await remove(ends, *given) if answers else None

    monkeypatch.setattr(SessionEnds, "_remove", after_a_failover)
    assert (await end(sessions, rotated, kept)).count == 1
    assert await sessions.get(rotated.id) is None
    assert await sessions.get(made.id) is None
    assert await sessions.get(kept.id) is not None


async def rotate_elsewhere(state, session):
    """The id that another instance gives it, with its place; the trace is over."""
    sessions = state.sessions
    now_id, to = fresh_id(sessions._digest_key, session.ref.shard)
    keys, home = sessions._store.keys, sessions._home(session.user)
    move = operations.rotate(keys, session.ref, to, index=home, grace=0)
    assert await sessions._store.run(move, sessions._store.until(1))
    return now_id, to


async def test_an_end_of_what_was_rotated_elsewhere_longer_ago_than_a_trace(state):
    made, other = await state.sessions.create("42"), await state.sessions.create("42")
    now_id, _ = await rotate_elsewhere(state, made)
    await state.sessions.end(made)
    assert await state.sessions.get(now_id) is None
    assert [each.handle for each in await state.sessions.of_user("42")] == [other.handle]


async def test_an_end_without_redis_for_longer_than_a_trace(state):
    made, other = await state.sessions.create("42"), await state.sessions.create("42")
    state._executor.outage = LinkDownError("Redis is away from here")
    await state.sessions.end(made)
    state._executor.outage = None
    now_id, to = await rotate_elsewhere(state, made)
    await until(lambda: state.revocations.has_ended(to.member))
    assert await state.sessions.get(now_id) is None
    assert [each.handle for each in await state.sessions.of_user("42")] == [other.handle]


async def test_an_end_without_redis_that_loses_the_rotation_and_is_rotated_elsewhere(state):
    made = await state.sessions.create("42")
    before = Data(state)
    rotated = await state.sessions.rotate(made)
    state._executor.outage = LinkDownError("Redis is away from here")
    await state.sessions.end(rotated)
    state._executor.outage = None
    before.roll_back()
    now_id, to = await rotate_elsewhere(state, made)
    await until(lambda: state.revocations.has_ended(to.member))
    assert await state.sessions.get(now_id) is None
    assert await state.sessions.of_user("42") == []


async def test_what_the_index_does_not_tell_is_asked_for_again(state, monkeypatch):
    made = await state.sessions.create("42")
    now_id, to = await rotate_elsewhere(state, made)
    index, asked = SessionEnds.index, []

    async def not_at_first(ends, *given):
        asked.append(given)
        if len(asked) < 3:  # by who ends it, and by who repeats it
            raise LinkDownError("Redis is away from here")
        return await index(ends, *given)

    monkeypatch.setattr(SessionEnds, "index", not_at_first)
    await state.sessions.end(made)
    await until(lambda: state.revocations.has_ended(to.member))
    assert len(asked) == 3
    assert await state.sessions.get(now_id) is None


async def test_an_end_of_a_version_that_is_sent_again_since_its_answer_was_lost(state):
    made = await state.sessions.create(None, {"a": 1})
    before, run = Data(state), state._executor.run
    rotated = await state.sessions.rotate(made)

    async def twice(operation, *, within):
        await run(operation, within=within)
        return await run(operation, within=within)

    state._executor.run = twice
    await state.sessions.end_unchanged(rotated)
    state._executor.run = run
    before.roll_back()
    assert await state.sessions.get(rotated.id) is None
    assert await state.sessions.get(made.id) is None
