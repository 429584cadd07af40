"""I6: a failover that loses a rotation brings back no id of a session that was ended."""

from __future__ import annotations

import copy

import pytest

from aragora_redis import SharedState
from aragora_redis.settings.model import Settings
from aragora_redis.state.session_ends import SessionEnds


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
