"""OWASP ASVS 5.0, chapter V7 (session management), what of it a session layer decides: one by one.

What only an application can do is not here: asking again for the password before a sensitive act
(7.5.1, 7.5.3), a logout control on each page (7.4.4), and federated logins (7.6).
"""

from __future__ import annotations

import asyncio
import base64
import secrets

import httpx
import pytest
import redis
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.integration.fleet import instances, until

from aragora_redis import Level
from aragora_redis.errors import SessionGoneError, TooManySessionsError
from aragora_redis.web.starlette import SessionMiddleware, session_of


@pytest.fixture
def user():
    return f"asvs-{secrets.token_hex(6)}"


@pytest.fixture
def server(standalone_lab):
    node = standalone_lab.node("redis-0")
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
        yield client


def browser(state, user, **options):
    """A client of a service whose /login logs this user in."""

    async def login(request):
        await session_of(request).login(user)
        return JSONResponse({})

    async def put(request):
        request.session.update(request.query_params)
        return JSONResponse({})

    async def read(request):
        return JSONResponse({"user": session_of(request).user})

    async def rotate(request):
        await session_of(request).rotate()
        return JSONResponse({})

    async def logout(request):
        await session_of(request).end()
        return JSONResponse({})

    app = Starlette(routes=[Route("/" + f.__name__, f) for f in (login, put, read, rotate, logout)])
    wrapped = SessionMiddleware(app, state=state, **({"secure": False} | options))
    return httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://service")


async def test_7_1_1_and_7_3_inactivity_and_absolute_limits_hold(standalone_lab, policies, user):
    """7.3.1 an inactivity time, 7.3.2 an absolute life: whichever is over first, on the server."""
    env = policies('[sessions]\nidle = "1 second"\nabsolute = "2 seconds"\n')
    async with instances(standalone_lab, 1, **env) as (state,):
        used, unused = [await state.sessions.create(user) for _ in range(2)]
        begun = state._redis.server_now()
        alive_for = 0.0
        while await state.sessions.get(used.id) is not None:
            alive_for = state._redis.server_now() - begun
            assert alive_for < 10, "use must not extend the absolute life"
            await asyncio.sleep(0.05)
        assert 1.1 < alive_for < 2.1, "use extends the inactivity time, up to the absolute life"
        assert await state.sessions.get(unused.id) is None


@pytest.mark.parametrize("on_full", ["end-oldest", "refuse"])
async def test_7_1_2_a_policy_says_how_many_sessions_and_what_happens_then(
    standalone_lab, policies, user, on_full
):
    env = policies(f'[sessions]\nmax_per_user = 1\non_full = "{on_full}"\n')
    async with instances(standalone_lab, 1, **env) as (state,):
        first = await state.sessions.create(user)
        if on_full == "refuse":
            with pytest.raises(TooManySessionsError):
                await state.sessions.create(user)
        else:
            await state.sessions.create(user)
        assert (await state.sessions.get(first.id) is not None) is (on_full == "refuse")
        assert len(await state.sessions.of_user(user)) == 1


async def test_7_2_1_a_session_is_verified_by_a_trusted_service(standalone_lab, server, user):
    """What the client sends says nothing by itself: all that it stands for is in Redis."""
    async with instances(standalone_lab, 1) as (state,):
        made = await state.sessions.create(user)
        server.delete(state.sessions._store.keys.session(made.ref))
        assert await state.sessions.get(made.id) is None
        assert await state.sessions.of_cookie(state.sessions.cookie(made)) is None


async def test_7_2_2_and_7_2_3_tokens_are_dynamic_unique_and_of_256_random_bits(standalone_lab):
    """At least 128 bits from a CSPRNG. Of 400 ids no bit position leans to one side."""
    async with instances(standalone_lab, 1) as (state,):
        made = [await state.sessions.create() for _ in range(400)]
        raw = [base64.urlsafe_b64decode(each.id + "==")[2:] for each in made]
        assert len(set(raw)) == 400
        assert {len(each) for each in raw} == {32}
        for bit in range(256):
            ones = sum(int.from_bytes(each, "big") >> bit & 1 for each in raw)
            assert 120 < ones < 280, "8 standard deviations"
        assert await state.sessions.get(raw[0].hex()) is None


async def test_7_2_4_each_authentication_gives_a_new_token_and_ends_the_old(standalone_lab, user):
    async with instances(standalone_lab, 1) as (state,), browser(state, user) as client:
        await client.get("/put?cart=1")
        seen = [client.cookies["session"]]
        for path in ("/login", "/login"):  # the second is an authentication anew
            await client.get(path)
            async with browser(state, user) as thief:
                thief.cookies.set("session", seen[-1])
                assert (await thief.get("/read")).json() == {"user": None}
            assert client.cookies["session"] not in seen
            seen.append(client.cookies["session"])
        assert (await client.get("/read")).json() == {"user": user}
        async with browser(state, f"not {user}") as other:
            other.cookies.set("session", seen[-1])
            await other.get("/login")
            assert (await other.get("/read")).json() == {"user": f"not {user}"}
        assert (await client.get("/read")).json() == {"user": None}, "it was ended"


async def test_7_4_1_a_session_that_was_ended_is_of_no_more_use(standalone_lab, user):
    """By logout and by expiry; on every instance, with every id that it had, in any request."""
    async with instances(standalone_lab, 2) as (one, two), browser(one, user) as client:
        await client.get("/login")
        before = client.cookies["session"]
        await client.get("/rotate")
        after = client.cookies["session"]
        session = await two.sessions.of_cookie(after)
        answer = await client.get("/logout")
        assert "Max-Age=0" in answer.headers["set-cookie"]
        await until(lambda: two.revocations.has_ended(session.ref.member))
        for cookie in (before, after):
            for state in (one, two):
                assert await state.sessions.of_cookie(cookie) is None
        with pytest.raises(SessionGoneError):
            await two.sessions.update(session, set={"a": 1})


async def test_7_4_2_all_sessions_of_a_disabled_account_end(standalone_lab, user):
    async with instances(standalone_lab, 2) as (one, two):
        made = [await state.sessions.create(user) for state in (one, two, one)]
        rotated = await two.sessions.rotate(made[1])
        assert (await one.sessions.end_user(user)).count == 3
        await until(lambda: two.revocations.has_ended(rotated.ref.member))
        for each in (*made, rotated):
            assert await two.sessions.get(each.id) is None


async def test_7_4_2_they_end_at_once_while_redis_is_away_and_everywhere_when_it_is_back(
    make_lab, user
):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 2) as (one, two):
        made = [await state.sessions.create(user) for state in (one, two, one)]
        rotated = await two.sessions.rotate(made[1])
        assert await one.sessions.get(made[0].id) is not None
        await asyncio.to_thread(lab.freeze, "redis-0")
        ended = await one.sessions.end_user(user, within=0.3)
        assert (ended.count, ended.receipt.level) == (None, Level.LOCAL)
        assert await one.sessions.get(made[0].id) is None, "a copy is here"
        await asyncio.to_thread(lab.thaw, "redis-0")
        await until(lambda: two.revocations.has_ended(rotated.ref.member))
        later = await two.sessions.create(user)
        for state in (one, two):
            for each in (*made, rotated):
                assert await state.sessions.get(each.id) is None
            assert await state.sessions.get(later.id) is not None
        assert [each.handle for each in await two.sessions.of_user(user)] == [later.handle]


async def test_7_4_2_the_end_outlives_the_instance_that_alone_knew_it(make_lab, tmp_path, user):
    lab = make_lab("standalone")
    lab.start()
    outbox = tmp_path / "outbox"
    outbox.mkdir(mode=0o700)
    async with instances(lab, 1, ARAGORA_TOKENS_OUTBOX=str(outbox)) as (one,):
        made = await one.sessions.create(user)
        await asyncio.to_thread(lab.freeze, "redis-0")
        ended = await one.sessions.end_user(user, within=0.5)
        assert (ended.count, ended.receipt.outbox) == (None, "disk")
    await asyncio.to_thread(lab.thaw, "redis-0")
    async with instances(lab, 1, ARAGORA_TOKENS_OUTBOX=str(outbox)) as (two,):
        await until(lambda: two.sessions._store.cut_off(two.sessions._home(user)) > 0)
        assert await two.sessions.get(made.id) is None
        assert await two.sessions.of_user(user) == []


async def test_7_4_3_after_a_change_of_factors_the_other_sessions_can_end(standalone_lab, user):
    async with instances(standalone_lab, 1) as (state,):
        here, there = [await state.sessions.create(user) for _ in range(2)]
        here = await state.sessions.rotate(here, grace=0)
        assert (await state.sessions.end_user(user, keep=here.handle)).count == 1
        assert await state.sessions.get(there.id) is None
        assert await state.sessions.get(here.id) is not None


async def test_7_4_5_administrators_end_sessions_of_one_user_or_of_all(make_lab, cli, user):
    """By the command line, on the record."""
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1) as (state,):
        mine, other = await state.sessions.create(user), await state.sessions.create("other")
        where = ("--lab", str(lab.directory))

        async def command(*words):
            return await asyncio.to_thread(lambda: cli("sessions", *words, *where))

        why = ("--actor", "a", "--reason", "r")
        done = await command("end", "--user", user, *why)
        assert done[0] == 0, done
        await until(lambda: state.revocations.has_ended(mine.ref.member))
        assert await state.sessions.get(mine.id) is None
        assert await state.sessions.get(other.id) is not None
        done = await command("end", "--everybody", *why)
        assert done[0] == 0, done
        await until(lambda: state.sessions._store.has_ended(other.ref, other.created_at, None))
        assert await state.sessions.get(other.id) is None
        listed = await command("list", "--user", "other")
        assert other.handle not in listed[1]


async def test_7_5_2_users_see_and_end_their_own_sessions(standalone_lab, user):
    async with instances(standalone_lab, 2) as (one, two):
        here, there = await one.sessions.create(user), await two.sessions.create(user)
        stranger = await two.sessions.create("somebody else")
        listed = await one.sessions.of_user(user)
        assert [each.handle for each in listed] == [here.handle, there.handle]
        assert await one.sessions.get(listed[1].handle) is None, "a handle opens nothing"
        await one.sessions.end_one_of(user, there.handle)
        await until(lambda: two.revocations.has_ended(there.ref.member))
        assert await two.sessions.get(there.id) is None
        with pytest.raises(SessionGoneError):
            await one.sessions.end_one_of(user, stranger.handle)
        assert await two.sessions.get(stranger.id) is not None


async def test_3_3_the_cookie_is_out_of_reach_of_scripts_subdomains_and_plain_http(
    standalone_lab, user
):
    """Chapter V3.3: `__Host-`, Secure, HttpOnly, SameSite; small enough for every browser."""
    async with (
        instances(standalone_lab, 1) as (state,),
        browser(state, user, secure=True) as client,
    ):
        cookie = (await client.get("/login")).headers["set-cookie"]
        assert cookie.startswith("__Host-session=")
        for part in ("; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"):
            assert part in cookie
        assert "Domain" not in cookie
        assert len(cookie) < 200
