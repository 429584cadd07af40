"""What is remembered of a session that has not ended holds until a revocation comes."""

from __future__ import annotations

import time

import pytest

from aragora_redis import SharedState
from aragora_redis.errors import SessionGoneError, UnexpectedReplyError
from aragora_redis.sessions import operations
from aragora_redis.sessions.ids import SessionRef, all_sessions, sessions_of
from aragora_redis.sessions.operations import SessionKeys
from aragora_redis.state.sessions import store as session_store
from aragora_redis.tokens.entry import Entry, ended_session

LATER = int(time.time()) // 86_400 + 2


@pytest.fixture
async def state():
    async with SharedState.from_env({}) as state:
        yield state


def ends(state, session):
    """What ends a session, on whichever instance it was done."""
    key, now = state.sessions._digest_key, int(time.time() * 1000) + 1
    home = state.sessions._home(session.user)
    return {
        "itself": ended_session(session.ref.member, session.expires_at),
        "its user's": Entry(LATER, sessions_of(key, home), now),
        "all": Entry(LATER, all_sessions(key), now),
    }


@pytest.mark.parametrize("which", ["itself", "its user's", "all"])
async def test_an_end_that_comes_from_elsewhere_is_seen_at_once(state, which):
    made = await state.sessions.create(user="u", data={"a": 1})
    other = await state.sessions.create(user="other")
    for _ in range(3):
        assert await state.sessions.get(made.id)
        made = await state.sessions.update(made, set={"b": 1})
        assert state.sessions.is_current(made)
    state.revocations.apply(ends(state, made)[which])
    assert not state.sessions.is_current(made)
    with pytest.raises(SessionGoneError):
        await state.sessions.update(made, set={"a": 2})
    assert await state.sessions.get(made.id) is None
    assert (await state.sessions.get(other.id) is None) == (which == "all")


async def test_so_many_sessions_are_remembered(state, monkeypatch):
    monkeypatch.setattr(session_store, "ALIVE", 2)
    for _ in range(5):
        made = await state.sessions.create()
        assert await state.sessions.get(made.id)
        assert len(state.sessions._store._alive) <= 2


@pytest.mark.parametrize(
    "hash_",
    [[b"by", b"nonce", b"was", b"1", b"p", b""], {b"by": b"nonce", b"was": b"1", b"p": b""}],
)
def test_the_trace_of_a_session_that_has_just_ended_is_no_session(hash_):
    """It is there for ten seconds, for whoever had no answer, see session_end.lua."""
    look = operations.peek(SessionKeys("p"), SessionRef(1, bytes(16)))
    assert look.result(hash_) is None
    with pytest.raises(UnexpectedReplyError):
        look.result([b"u", b"", b"v", b"1"])
