"""Ends of a user's sessions while Redis is away: they hold here at once, and are owed to Redis."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.integration.fleet import until

from aragora_redis import SharedState
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LinkDownError, OutageError, SessionUnreadableError
from aragora_redis.sessions import operations
from aragora_redis.sessions.ids import SessionRef, fresh_id, handle_of
from aragora_redis.sessions.policy import OnFull, SessionPolicy
from aragora_redis.sessions.stored import Moved, Session
from aragora_redis.settings.model import Settings
from aragora_redis.state.sessions import held_ends
from aragora_redis.state.sessions.held_ends import HeldEnd, HeldEnds
from aragora_redis.state.sessions.owed_ends import OwedEnds, Removal


@pytest.fixture
async def state():
    async with SharedState(Settings()) as made:
        yield made


async def living(state, *sessions):
    return [await state.sessions.get(each.id) is not None for each in sessions]


async def back(state):
    """Redis can be asked again, and has been told what was owed to it."""
    state._executor.outage = None
    await until(lambda: not state.sessions._owed._held)


async def test_all_of_a_user_end_though_redis_is_away_and_later_ones_live(state):
    mine = [await state.sessions.create("42") for _ in range(2)]
    other = await state.sessions.create("other")
    state._executor.outage = LinkDownError("Redis is away")
    ended = await state.sessions.end_user("42")
    assert ended.count is None
    assert "could not be asked" in str(ended)
    assert await living(state, *mine, other) == [False, False, True]
    state._executor.outage = None  # before it was told, somebody logs in
    later = await state.sessions.create("42")
    await back(state)
    assert await living(state, *mine, other, later) == [False, False, True, True]
    assert [each.handle for each in await state.sessions.of_user("42")] == [later.handle]
    sessions = state.sessions
    index = await sessions._ends.index(sessions._home("42"), sessions._store.until(1))
    assert list(index) == [later.ref.member], "what has ended takes no place"


async def test_what_began_by_a_clock_that_is_ahead_of_what_is_known_of_it_ends_too(state):
    ends = state.sessions._ends
    mine = await state.sessions.create("42")
    now, ends._server_now = ends._server_now, lambda: now() - 0.5
    state._executor.outage = LinkDownError("Redis is away")
    await state.sessions.end_user("42")
    assert await living(state, mine) == [False]
    state._executor.outage = None
    await until(lambda: not state.sessions._owed._held)
    assert await living(state, mine) == [False]


@pytest.mark.parametrize("away", [False, True])
async def test_who_logs_in_after_it_lives_though_the_clock_has_gone_back(state, away):
    ends = state.sessions._ends
    mine, other = [await state.sessions.create("42") for _ in range(2)]
    now, ends._server_now = ends._server_now, lambda: now() + 3600
    state._executor.outage = LinkDownError("Redis is away") if away else None
    await state.sessions.end_user("42", keep=other.handle if away else None)
    state._executor.outage, ends._server_now = None, now
    later = await state.sessions.create("42")
    await until(lambda: not state.sessions._owed._held)
    assert await living(state, mine, later) == [False, True]
    await state.sessions.end_user("42")
    assert await living(state, later) == [False]


async def test_all_others_end_though_redis_is_away_and_the_one_that_is_kept_lives(state):
    kept, other = [await state.sessions.create("42") for _ in range(2)]
    state._executor.outage = LinkDownError("Redis is away")
    ended = await state.sessions.end_user("42", keep=kept.handle)
    assert (ended.count, ended.receipt.outbox) == (None, "memory")
    assert await living(state, kept, other) == [True, False]
    state._executor.outage = None
    kept = await state.sessions.rotate(kept)  # its handle is another before it is carried out
    assert kept is not None
    await back(state)
    assert await living(state, kept, other) == [True, False]


@pytest.mark.parametrize("spared", [False, True])
async def test_who_is_meant_is_known_after_another_instance_has_rotated_it(state, spared):
    sessions = state.sessions
    rotated, other = [await sessions.create("42") for _ in range(2)]
    state._executor.outage = LinkDownError("Redis is away")
    if spared:
        await sessions.end_user("42", keep=rotated.handle)
    else:
        await sessions.end_one_of("42", rotated.handle)
    state._executor.outage = None
    now_id, to = fresh_id(sessions._digest_key, rotated.ref.shard)
    keys, home = sessions._store.keys, sessions._home("42")
    move = operations.rotate(keys, rotated.ref, to, index=home, grace=0)
    assert await sessions._store.run(move, sessions._store.until(1))
    for _ in range(2):
        assert (await sessions.get(now_id) is not None) is spared
        assert await living(state, other) == [not spared]
        await back(state)


@pytest.mark.parametrize("only", [False, True])
async def test_one_that_is_rotated_while_it_is_looked_for_is_ended_too(state, monkeypatch, only):
    sessions = state.sessions
    moving, kept = [await sessions.create("42") for _ in range(2)]
    moved: list[Session] = []
    index = sessions._ends.index

    async def overtaken(*given):
        found = await index(*given)
        if not moved:
            moved.append(await sessions.rotate(moving, grace=0))
        return found

    monkeypatch.setattr(sessions._ends, "index", overtaken)
    if only:
        await sessions.end_one_of("42", moving.handle)
    else:
        await sessions.end_user("42", keep=kept.handle)
    assert await living(state, moved[0], kept) == [False, True]


async def test_one_that_cannot_be_read_stops_no_other_end(state):
    poor, mine = await state.sessions.create("poor"), await state.sessions.create("42")
    keys = state.sessions._store.keys

    class Unknown:
        on, seal = keys.seal.on, keys.seal.seal

        def open(self, member, name, text):
            if member == poor.ref.member:
                raise SessionUnreadableError("unknown-key")
            return keys_before.open(member, name, text)

    keys_before = keys.seal
    state._executor.outage = LinkDownError("Redis is away")
    await state.sessions.end_user("poor", keep=poor.handle)
    await state.sessions.end_one_of("42", mine.handle)
    keys.seal = Unknown()
    await back(state)
    keys.seal = keys_before
    assert await living(state, poor, mine) == [True, False]


async def test_one_that_keeps_being_rotated_is_owed_on(state, monkeypatch):
    mine, ends = await state.sessions.create("42"), state.sessions._ends

    async def moved(*_):
        return Moved(bytes(16))

    monkeypatch.setattr(ends, "_remove", moved)
    removal = Removal(mine.ref, None, mine.expires_at)
    assert await ends.remove_again(removal)
    successor = mine.ref.moved(bytes(16))
    owed = Removal(successor, None, mine.expires_at, (mine.ref.member,))
    assert list(state.sessions._owed._removals) == [owed]


async def test_one_of_a_user_ends_though_redis_is_away_and_no_strangers(state):
    mine, stays = [await state.sessions.create("42") for _ in range(2)]
    stranger = await state.sessions.create("stranger")
    state._executor.outage = LinkDownError("Redis is away")
    for handle in (mine.handle, stranger.handle):
        ended = await state.sessions.end_one_of("42", handle)
        assert (ended.count, ended.receipt.level < ended.receipt.wanted) == (None, True)
    assert await living(state, mine, stays, stranger) == [False, True, True]
    await back(state)
    assert await living(state, mine, stays, stranger) == [False, True, True]
    assert len(await state.sessions.of_user("42")) == 1


async def test_what_is_held_takes_no_place_and_is_buried_by_who_needs_it(state):
    state.sessions.use(SessionPolicy(max_per_user=1, on_full=OnFull.REFUSE))
    ends = state.sessions._ends
    mine = await state.sessions.create("42")
    now, ends._server_now = ends._server_now, lambda: now() - 3600  # the clock has gone back
    state._executor.outage = LinkDownError("Redis is away")
    await state.sessions.end_one_of("42", mine.handle)
    assert await living(state, mine) == [False]
    state._executor.outage = None
    assert await state.sessions.create("42") is not None
    assert state.revocations.has_ended(mine.ref.member)


async def test_what_can_be_held_is_bounded_and_all_of_a_user_need_no_room(state, monkeypatch):
    monkeypatch.setattr(held_ends, "ROOM", 0)
    mine = await state.sessions.create("42")
    state._executor.outage = LinkDownError("Redis is away")
    with pytest.raises(OutageError):
        await state.sessions.end_user("42", keep=mine.handle)
    assert await living(state, mine) == [True]
    await state.sessions.end_user("42")
    assert await living(state, mine) == [False]


async def test_one_user_does_not_take_the_room_of_all(state):
    mine, other = await state.sessions.create("42"), await state.sessions.create("other")
    state._executor.outage = LinkDownError("Redis is away")
    for number in range(held_ends.ROOM_OF_USER):
        await state.sessions.end_one_of("42", handle_of(number.to_bytes(16)))
    with pytest.raises(OutageError, match="too many ends"):
        await state.sessions.end_one_of("42", mine.handle)
    await state.sessions.end_one_of("other", other.handle)
    assert await living(state, mine, other) == [True, False]


async def test_what_has_begun_ends_though_the_clock_has_gone_back_since(state):
    ends, now = state.sessions._ends, state.sessions.now()
    mine, also, all_of = [await state.sessions.create("42") for _ in range(3)]
    others = await state.sessions.create("other")
    ends._server_now = lambda: now - 3600
    state._executor.outage = LinkDownError("Redis is away")
    await state.sessions.end_one_of("42", mine.handle)
    assert await living(state, mine, also) == [False, True]
    await state.sessions.end_user("42", keep=all_of.handle)
    assert await living(state, also, all_of) == [False, True]
    await state.sessions.end_user("42")
    assert await living(state, all_of, others) == [False, True]
    await state.sessions.end_all()
    await back(state)
    assert await living(state, mine, also, all_of, others) == [False] * 4


async def test_closing_says_what_never_reached_redis(state, caplog):
    mine = await state.sessions.create("42")
    state._executor.outage = LinkDownError("Redis is away")
    await state.sessions.end_one_of("42", mine.handle)
    await state.close()
    assert "1 ends of users' sessions were held here only" in caplog.text


async def test_an_end_that_is_never_answered_holds_up_no_other():
    held, homes = HeldEnds(), [SessionRef(1, bytes([user]) * 16) for user in range(3)]
    owed = OwedEnds(cast(Any, None), held, SYSTEM_CLOCK, lambda: 1e9)
    for home in homes:
        held.hold(HeldEnd(home, 1000, 2e9))

    async def answered(end):
        return end.home != homes[0]

    for _ in range(2):
        await owed._carry_out_some(answered)
    assert [end.home for end in held] == homes[:1]


def test_a_later_end_of_the_same_takes_the_place_of_an_earlier():
    held, home = HeldEnds(), SessionRef(1, b"u" * 16)
    first = HeldEnd(home, 1000, 2e9, spared=b"a" * 16)
    held.hold(first)
    held.hold(first._replace(cut_off=3000))
    held.hold(first._replace(cut_off=2000, spared=b"b" * 16))
    assert len(held) == 2
    assert [held.has_ended(home, m * 16, 2.5) for m in (b"a", b"b")] == [False, True]
    assert [held.has_ended(home, m * 16, 1.5) for m in (b"a", b"b", b"c")] == [True, True, True]
    held.drop(first)
    assert len(held) == 2, "it is another by now"
