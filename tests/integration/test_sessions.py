"""Sessions on real servers: at once, after their end, and without Redis."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis
from tests.integration.fleet import healthy, instances, replaced, until

from aragora_redis import Level
from aragora_redis.errors import (
    OutageError,
    OutcomeUnknownError,
    Ran,
    SessionConflictError,
    SessionGoneError,
    TooManySessionsError,
)
from aragora_redis.link.route import Route
from aragora_redis.operation import Lane
from aragora_redis.sessions.stored import Session
from aragora_redis.tokens.entry import ended_session


async def test_i6_ten_writers_of_disjoint_fields_keep_ten_of_ten(standalone_lab):
    async with instances(standalone_lab, 2) as states:
        made = await states[0].sessions.create(user="42", data={"theme": "dark"})
        read = [await states[number % 2].sessions.get(made.id) for number in range(10)]
        await asyncio.gather(
            *(
                states[number % 2].sessions.update(session, set={f"field-{number}": number})
                for number, session in enumerate(read)
            )
        )
        for state in states:
            after = await state.sessions.get(made.id)
            assert after.data == {"theme": "dark"} | {f"field-{n}": n for n in range(10)}


async def test_i6_of_ten_writers_of_one_field_one_wins(standalone_lab):
    async with instances(standalone_lab, 2) as states:
        made = await states[0].sessions.create(data={"count": 0})
        outcomes = await asyncio.gather(
            *(
                states[number % 2].sessions.update(made, set={"count": number, "by": number})
                for number in range(10)
            ),
            return_exceptions=True,
        )
        won = [each for each in outcomes if isinstance(each, Session)]
        assert all(isinstance(each, Session | SessionConflictError) for each in outcomes)
        assert len(won) == 1
        after = await states[0].sessions.get(made.id)
        assert after.data == won[0].data
        assert after.data["count"] == after.data["by"], "never half-written"


async def test_i6_a_slow_request_cannot_bring_a_session_back(standalone_lab):
    """It began before the logout, on another instance, and writes after it."""
    async with instances(standalone_lab, 2) as (one, two):
        made = await one.sessions.create(user="logs-out", data={"a": 1})
        slow = await two.sessions.get(made.id)
        receipt = await one.sessions.end(made.id)
        assert receipt.level is Level.PRIMARY
        with pytest.raises(SessionGoneError):
            await two.sessions.update(slow, set={"a": 2})
        with pytest.raises(SessionGoneError):
            await two.sessions.rotate(slow)
        for state in (one, two):
            assert await state.sessions.get(made.id) is None
            assert await state.sessions.of_user("logs-out") == []
        with pytest.raises(SessionGoneError):
            await two.sessions.end(made.id)


async def test_sessions_that_are_too_large_for_one_call_are_read_and_changed_at_once(
    standalone_lab,
):
    async with instances(standalone_lab, 2) as (one, two):
        made = [await one.sessions.create(data={"a": str(n) * 30_000}) for n in range(9)]
        read = await asyncio.gather(*(two.sessions.get(each.id) for each in made))
        assert [each.data for each in read] == [each.data for each in made]
        for state, name in ((one, "b"), (two, "c")):  # two builds on what it has read, and merges
            changed = await asyncio.gather(
                *(state.sessions.update(each, set={name: n}) for n, each in enumerate(read))
            )
        assert [(each.data["b"], each.data["c"]) for each in changed] == [(n, n) for n in range(9)]


async def test_an_end_by_a_rotated_id_ends_what_it_leads_to(standalone_lab):
    async with instances(standalone_lab, 2) as (one, two):
        made = await one.sessions.create(user="7")
        rotated = await two.sessions.rotate(made)
        assert (await one.sessions.get(made.id)).version == rotated.version
        await one.sessions.end(made)
        await until(lambda: two.revocations.has_ended(rotated.ref.member), within=2)
        assert await two.sessions.get(rotated.id) is None
        assert await two.sessions.get(made.id) is None


async def test_a_rotated_id_is_ended_when_its_time_is_over(standalone_lab):
    async with instances(standalone_lab, 2) as (one, two):
        made = await one.sessions.create()
        rotated = await one.sessions.rotate(made, grace=0.3)
        assert await two.sessions.get(made.id) is not None
        await until(lambda: two.revocations.has_ended(made.ref.member), within=5)
        assert await two.sessions.get(made.id) is None
        assert (await two.sessions.get(rotated.id)).id == rotated.id


async def test_closing_ends_rotated_ids_before_their_time(standalone_lab):
    async with instances(standalone_lab, 1) as (one,):
        async with instances(standalone_lab, 1) as (two,):
            made = await two.sessions.create()
            rotated = await two.sessions.rotate(made)
        await until(lambda: one.revocations.has_ended(made.ref.member), within=5)
        assert await one.sessions.get(rotated.id) is not None


async def test_login_moves_what_anonymous_requests_write_meanwhile(standalone_lab):
    async with instances(standalone_lab, 2) as (one, two):
        anonymous = await one.sessions.create(data={"cart": [1], "old": 1})
        await two.sessions.update(anonymous, set={"cart": [1, 2]}, unset=["old"])
        user = await one.sessions.authenticate(anonymous, "42")
        assert (user.user, user.data) == ("42", {"cart": [1, 2]})
        assert (await two.sessions.get(user.id)).data == {"cart": [1, 2]}
        assert await two.sessions.get(anonymous.id) is None
        with pytest.raises(SessionGoneError):
            await two.sessions.authenticate(anonymous, "attacker")


async def test_the_oldest_session_makes_room(standalone_lab, policies):
    env = policies("[sessions]\nmax_per_user = 2\n")
    async with instances(standalone_lab, 2, **env) as (one, two):
        user = f"many-{time.time()}"
        made = [await one.sessions.create(user=user) for _ in range(3)]
        assert await two.sessions.get(made[0].id) is None
        assert len(await two.sessions.of_user(user)) == 2
        ended = await two.sessions.end_user(user)
        assert (ended.count, ended.receipt.level) == (2, Level.PRIMARY)
        assert await one.sessions.get(made[2].id) is None


async def test_a_session_too_many_is_refused_but_not_for_one_that_has_lapsed(
    standalone_lab, policies
):
    env = policies('[sessions]\nmax_per_user = 1\non_full = "refuse"\nidle = "1 second"\n')
    async with instances(standalone_lab, 1, **env) as (state,):
        user = f"full-{time.time()}"
        made = await state.sessions.create(user=user)
        with pytest.raises(TooManySessionsError):
            await state.sessions.create(user=user)
        assert await state.sessions.get(made.id) is not None
        await asyncio.sleep(1.1)  # past its idle time, which is the subject
        assert await state.sessions.create(user=user)


async def test_i8_nothing_in_redis_opens_a_session(standalone_lab):
    node = standalone_lab.node("redis-0")
    async with instances(standalone_lab, 1) as (state,):
        made = await state.sessions.create(user="someone@example.org", data={"a": 1})
        await state.sessions.rotate(made)
        with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
            keys = list(client.scan_iter(b"*:s:*"))
            held = {key: client.dump(key) for key in keys}
        assert held
        assert made.id.encode() not in repr(held).encode()
        assert not any(b"someone" in key for key in keys)
        assert made.id not in repr(made)


async def test_i2_i5_a_frozen_redis_is_read_from_copies_and_takes_no_write(make_lab):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1) as (state,):
        made = await state.sessions.create(user="42", data={"a": 1})
        ended = await state.sessions.create(user="42")
        rotated = await state.sessions.create(data={"b": 1})
        await state.sessions.rotate(rotated)
        await asyncio.to_thread(lab.freeze, "redis-0")
        assert (await state.sessions.get(rotated.id)).data == {"b": 1}
        copy = await state.sessions.get(made.id)
        assert (copy.source, copy.data) == ("copy", {"a": 1})
        with pytest.raises(OutageError) as refused:
            await state.sessions.update(copy, set={"a": 2}, within=0.3)
        assert refused.value.ran is Ran.NO
        receipt = await state.sessions.end(ended, within=0.3)
        assert receipt.level is Level.LOCAL
        assert await state.sessions.get(ended.id) is None
        with pytest.raises(OutageError):
            await state.sessions.get(other_id(made))
        await asyncio.to_thread(lab.thaw, "redis-0")
        await until(healthy(state))
        (route,) = state._redis.reach.routes
        await until(lambda: route.links.lanes[Lane.BULK].down is None)
        after = await state.sessions.get(made.id)
        assert (after.source, after.data, after.version) == ("redis", {"a": 1}, made.version)
        assert await state.sessions.get(ended.id) is None


def other_id(made):
    """An id of the right form that nothing was read of."""
    return made.id[:-8] + ("AAAAAAAA" if not made.id.endswith("AAAAAAAA") else "BBBBBBBA")


async def test_deny_gives_no_copy(make_lab):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1, ARAGORA_SESSIONS_ON_OUTAGE="deny") as (state,):
        made = await state.sessions.create()
        await asyncio.to_thread(lab.kill, "redis-0")
        with pytest.raises((OutageError, OutcomeUnknownError)):
            await state.sessions.get(made.id)


async def test_i6_a_primary_that_may_have_been_replaced_is_asked_for_no_session(
    standalone_lab, monkeypatch
):
    """Sessions end elsewhere while it goes on answering those who are cut off with it."""
    lab = standalone_lab
    deny = {"ARAGORA_SESSIONS_ON_OUTAGE": "deny"}
    async with instances(lab, 1) as (one,), instances(lab, 1, **deny) as (strict,):
        made, other = await one.sessions.create(user="doubted"), await strict.sessions.create()
        with monkeypatch.context() as doubted:
            doubted.setattr(Route, "doubt", "it may have been replaced")
            assert (await one.sessions.get(made.id)).source == "copy"
            for state, session in ((one, other), (strict, made), (strict, other)):
                with pytest.raises(OutageError, match="may have been replaced"):
                    await state.sessions.get(session.id)
            with pytest.raises(OutageError, match="may have been replaced"):
                await one.sessions.of_user("doubted")
            # What it lists is no list of those that are meant.
            assert (await one.sessions.end_user("doubted", keep=made.handle)).count is None
        assert (await one.sessions.get(made.id)).source == "redis"


async def test_i6_an_end_outlives_the_primary_that_alone_had_it(sentinel_lab, connect):
    """The replicas miss the end, so the promoted one holds the session still."""
    lab = sentinel_lab
    async with instances(lab, 2) as (one, two):
        made = await one.sessions.create(user="42", data={"a": 1})
        key = one.sessions._store.keys.session(made.ref)
        replicas = [connect(lab, name) for name in ("replica-0", "replica-1")]
        await until(lambda: all(client.exists(key) for client in replicas))
        connect(lab, "primary").config_set("min-replicas-to-write", 0)
        for client in replicas:
            client.replicaof("127.0.0.1", 1)
        receipt = await one.sessions.end(made, within=0.5)
        assert receipt.level < Level.REPLICATED
        await until(lambda: two.revocations.has_ended(made.ref.member))
        await asyncio.to_thread(lab.kill, "primary")
        await one.close()
        await until(lambda: two.status().health != "healthy")
        await until(healthy(two), within=40)
        await replaced(lab)
        assert connect(lab, "primary").exists(key), "the loss did not happen"
        assert await two.sessions.get(made.id) is None
        async with instances(lab, 1) as (fresh,):
            assert await fresh.sessions.get(made.id) is None
            with pytest.raises(SessionGoneError):
                await fresh.sessions.update(made, set={"a": 2})


@pytest.mark.parametrize("by", ["old id", "new id"])
async def test_i6_an_end_takes_the_ids_from_before_rotations_with_it(sentinel_lab, connect, by):
    """A failover that loses rotation and end brings the old id back, with all it may do."""
    lab = sentinel_lab
    async with instances(lab, 2) as (one, two):
        made = await one.sessions.create(user="42", data={"a": 1})
        key = one.sessions._store.keys.session(made.ref)
        replicas = [connect(lab, name) for name in ("replica-0", "replica-1")]
        await until(lambda: all(client.exists(key) for client in replicas))
        connect(lab, "primary").config_set("min-replicas-to-write", 0)
        for client in replicas:
            client.replicaof("127.0.0.1", 1)
        rotated = await two.sessions.rotate(made)
        await one.sessions.end(made.id if by == "old id" else rotated.id, within=0.5)
        await until(lambda: two.revocations.has_ended(made.ref.member))
        await asyncio.to_thread(lab.kill, "primary")
        await until(lambda: two.status().health != "healthy")
        await until(healthy(one, two), within=40)
        await replaced(lab)
        assert connect(lab, "primary").exists(key), "the loss did not happen"
        for state in (one, two):
            assert await state.sessions.get(made.id) is None
            assert await state.sessions.get(rotated.id) is None


@pytest.mark.parametrize("grace", [30.0, 0.0], ids=["followed", "trace over"])
async def test_i6_an_end_without_redis_reaches_what_the_id_was_rotated_to(make_lab, grace):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 2) as (one, two):
        made = await one.sessions.create(user="42")
        rotated = await two.sessions.rotate(made, grace=grace)
        await asyncio.to_thread(lab.freeze, "redis-0")
        ended = made.id if grace else made
        assert (await one.sessions.end(ended, within=0.3)).level is Level.LOCAL
        await asyncio.to_thread(lab.thaw, "redis-0")
        await until(lambda: two.revocations.has_ended(rotated.ref.member))
        assert await two.sessions.get(rotated.id) is None
        assert await two.sessions.of_user("42") == []


async def test_i6_all_of_a_user_ends_though_one_is_rotated_meanwhile(standalone_lab, monkeypatch):
    async with instances(standalone_lab, 2) as (one, two):
        made, kept = [await one.sessions.create(user="rotating") for _ in range(2)]
        listed = one.sessions._ends.listed
        rotated = []

        async def then_rotate(*args, **options):
            found = await listed(*args, **options)
            rotated.append(await two.sessions.rotate(made))
            return found

        monkeypatch.setattr(one.sessions._ends, "listed", then_rotate)
        assert (await one.sessions.end_user("rotating", keep=kept.handle)).count == 1
        assert await two.sessions.get(rotated[0].id) is None
        assert [each.handle for each in await two.sessions.of_user("rotating")] == [kept.handle]


async def test_i6_an_anonymous_session_goes_to_one_login_only(standalone_lab):
    async with instances(standalone_lab, 2) as (one, two):
        made = await one.sessions.create(data={"cart": 1})
        logins = await asyncio.gather(
            one.sessions.authenticate(made, "login-one"),
            two.sessions.authenticate(made, "login-two"),
            return_exceptions=True,
        )
        assert sorted(type(login).__name__ for login in logins) == ["Session", "SessionGoneError"]
        loser = "login-one" if isinstance(logins[0], Exception) else "login-two"

        async def sessions_of_loser():
            return len(await one.sessions.of_user(loser))

        end = time.monotonic() + 5
        while await sessions_of_loser():  # what its login began is taken back
            assert time.monotonic() < end
        ended = await one.sessions.create(data={"cart": 1})
        await one.sessions.end(ended)
        await until(lambda: two.revocations.has_ended(ended.ref.member))
        with pytest.raises(SessionGoneError):
            await two.sessions.authenticate(ended, "login-one")


async def test_who_ended_without_redis_takes_no_place_of_the_living(make_lab, policies):
    lab = make_lab("standalone")
    lab.start()
    env = policies('[sessions]\nmax_per_user = 1\non_full = "refuse"\n')
    async with instances(lab, 2, **env) as (one, two):
        made = await one.sessions.create(user="42")
        await asyncio.to_thread(lab.freeze, "redis-0")
        await one.sessions.end(made, within=0.3)
        await asyncio.to_thread(lab.thaw, "redis-0")
        await until(lambda: two.revocations.has_ended(made.ref.member))
        assert await two.sessions.create(user="42") is not None


async def test_i6_an_end_that_comes_while_a_read_is_under_way_holds(standalone_lab, monkeypatch):
    async with instances(standalone_lab, 1) as (state,):
        made = await state.sessions.create(user="racing", data={"a": 1})
        run = state._executor.run

        async def end_behind(operation, *, within):
            reply = await run(operation, within=within)
            if operation.script and operation.script.name in during:
                during.clear()
                await state.revocations.end_sessions(
                    [ended_session(made.ref.member, made.expires_at)]
                )
            return reply

        monkeypatch.setattr(state._executor, "run", end_behind)
        during = {"session_read"}
        assert await state.sessions.get(made.id) is None
        monkeypatch.setattr(state._executor, "run", run)
        made = await state.sessions.create(user="racing", data={"a": 1})
        monkeypatch.setattr(state._executor, "run", end_behind)
        during = {"session_update"}
        with pytest.raises(SessionGoneError):
            await state.sessions.update(made, set={"a": 2})
