"""Which of a user's sessions are ended when there are too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.errors import TooManySessionsError
from aragora_redis.policies import parse_policies
from aragora_redis.sessions.ages import by_age, too_many
from aragora_redis.sessions.stored import SessionInfo
from aragora_redis.testing import FakeClock, memory_state

NOW = 1_800_000_000.0


def living(*created, ends=None):
    """Sessions `a`, `b`, `c` ... that began so many seconds from now."""
    return {
        bytes([ord("a") + n]): SessionInfo(
            "", NOW + at, (ends or {}).get(n, NOW + at + 43_200), 0, 0, None, None
        )
        for n, at in enumerate(created)
    }


def test_what_began_first_is_the_oldest_whenever_it_ends():
    sessions = living(-1, -3, -2, ends={0: NOW + 10})
    assert list(by_age(sessions, NOW)) == [b"b", b"c", b"a"]


def test_what_began_later_than_now_did_so_before_the_clock_went_back():
    sessions = living(-1, 3600, 3599, -2)
    assert list(by_age(sessions, NOW)) == [b"c", b"b", b"d", b"a"]


def test_what_began_just_now_is_not_taken_for_old_by_a_clock_that_went_back_since():
    assert list(too_many(living(-50, 2, -40), NOW, most=2, made=b"b")) == []
    assert list(too_many(living(-50, 2, -40), NOW, most=1, made=b"b")) == [b"a"]
    assert list(too_many(living(-50, 2, -40), NOW, most=2, made=b"a")) == [b"b"]


def test_what_began_just_now_is_not_taken_for_old_beside_others_of_its_instant():
    sessions = living(-1, 0, 0, ends={2: NOW + 10})
    assert list(too_many(sessions, NOW, most=1, made=b"c")) == [b"a"]
    assert list(too_many(sessions, NOW, most=1, made=b"b")) == [b"a", b"c"], "so one of them stays"


@given(st.lists(st.integers(-50, 0), min_size=1, max_size=8, unique=True), st.integers(1, 4))
def test_of_logins_at_once_exactly_the_newest_stay(created, most):
    sessions = living(*created)
    ended = {
        member for made in sessions for member in too_many(sessions, NOW, most=most, made=made)
    }
    stay = [info.created_at for member, info in sessions.items() if member not in ended]
    assert sorted(stay) == sorted(NOW + at for at in created)[-most:]


def policies(absolute):
    return f'[sessions]\nabsolute = "{absolute}"\nidle = "30 minutes"\nmax_per_user = 2\n'


@pytest.mark.parametrize("what", ["shorter", "back"])
async def test_a_login_lives_after_a_reload_and_after_the_clock_went_back(what):
    clock = FakeClock(NOW)
    state = memory_state(policies("12 hours"), clock=clock)
    made = []
    for _ in range(2):
        made.append(await state.sessions.create("42"))
        clock.advance(1)
    if what == "shorter":
        state.use_policies(parse_policies(policies("1 hour"), source="p"))
    else:
        clock._wall -= 3600
    for _ in range(3):
        made.append(await state.sessions.create("42"))
        found = [await state.sessions.get(each.id) for each in made]
        assert [each is not None for each in found[-3:]] == [False, True, True]
        clock.advance(600)
    assert [info.handle for info in await state.sessions.of_user("42")] == [
        each.handle for each in made[-2:]
    ]


async def test_a_place_that_is_freed_while_a_login_looks_for_one_is_its_own(monkeypatch):
    state = memory_state('[sessions]\nmax_per_user = 1\non_full = "refuse"\n')
    first = await state.sessions.create("42")
    run = state._executor.run

    async def freed(operation, *, within):
        if operation.script.name == "session_index":
            monkeypatch.undo()
            await state.sessions.end(first)
        return await run(operation, within=within)

    monkeypatch.setattr(state._executor, "run", freed)
    second = await state.sessions.create("42")
    with pytest.raises(TooManySessionsError):
        await state.sessions.create("42")
    assert await state.sessions.get(second.id) is not None
