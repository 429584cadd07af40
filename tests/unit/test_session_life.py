"""A session may live otherwise than others, within a bound: "remember me"."""

from __future__ import annotations

import httpx
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from aragora_redis.errors import InvalidInputError
from aragora_redis.gateway.app import create_app
from aragora_redis.sessions import operations
from aragora_redis.sessions.ids import all_sessions, fresh_id, sessions_of, user_ref
from aragora_redis.sessions.policy import OnFull, SessionPolicy
from aragora_redis.settings import Settings, from_env
from aragora_redis.state.shared import SharedState
from aragora_redis.testing import FakeClock, memory_state
from aragora_redis.web.starlette import SessionMiddleware, session_of

DAY = 86_400.0
POLICY = SessionPolicy(idle=60, absolute=600, longest=30 * DAY)


@pytest.fixture
async def state():
    async with SharedState(Settings()) as made:
        made.sessions.use(POLICY)
        yield made


def browser(app):
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8080")


async def lapsed(state):
    """One of the user's that is listed and is no more."""
    store = state.sessions._store
    home = state.sessions._home("42")
    _, ref = fresh_id(state.sessions._digest_key, home.shard)
    begin = operations.create(
        store.keys, ref, POLICY, user="42", index=home, fields={}, nonce="begin"
    )
    await store.run(begin, store.until(1))
    await store.run(operations.end(store.keys, ref, index=None, nonce="end"), store.until(1))


def life(session):
    return session.idle, round(session.expires_at - session.created_at)


async def test_a_session_lives_as_it_asks_and_others_as_the_policy_says(state):
    remembered = await state.sessions.create("42", idle=7 * DAY, absolute=30 * DAY)
    assert life(remembered) == (7 * DAY, 30 * DAY)
    assert life(await state.sessions.create("42")) == (60, 600)
    assert life(await state.sessions.create("42", absolute=10)) == (60, 10)
    rotated = await state.sessions.rotate(remembered)
    assert life(await state.sessions.get(rotated.id)) == (7 * DAY, 30 * DAY)


async def test_cut_offs_last_as_long_as_what_began_under_an_earlier_policy(state):
    remembered = await state.sessions.create("42", idle=7 * DAY, absolute=30 * DAY)
    state.sessions.use(SessionPolicy(idle=60, absolute=600))
    await state.sessions.end_all()
    await state.sessions.end_user("42")
    key = state.sessions._digest_key
    for member in (all_sessions(key), sessions_of(key, user_ref(key, "42"))):
        (cut_off,) = state.revocations.due(member)
        assert cut_off.day >= remembered.expires_at // DAY


@pytest.mark.parametrize("asked", [{"idle": 0.5}, {"absolute": 31 * DAY}, {"idle": "soon"}])
async def test_a_life_that_may_not_be_makes_nothing(state, asked):
    with pytest.raises(InvalidInputError):
        await state.sessions.create("42", **asked)
    assert await state.sessions.of_user("42") == []


async def test_the_bound_is_the_absolute_life_by_default():
    assert SessionPolicy(absolute=600).lasting(None, 600).absolute == 600
    with pytest.raises(InvalidInputError, match="600 seconds"):
        SessionPolicy(absolute=600).lasting(None, 601)


async def test_a_login_says_how_long_whose_session_ever_it_was(state):
    async def login(request):
        mine = session_of(request)
        mine["seen"] = mine.get("seen", 0) + 1
        asked = {"absolute": 20 * DAY} if "remember" in request.query_params else {}
        await mine.login("42", **asked)
        return JSONResponse({})

    app = SessionMiddleware(Starlette(routes=[Route("/login", login)]), state=state, secure=False)
    lives = []
    async with browser(app) as client:
        for query in ("", "?remember=1", ""):
            await client.get("/login" + query)
            held = await state.sessions.of_cookie(client.cookies["session"])
            lives.append(life(held))
            assert held.data == {"seen": len(lives)}
    assert lives == [(60, 600), (60, 20 * DAY), (60, 20 * DAY)], "a rotation keeps it"
    assert len(await state.sessions.of_user("42")) == 1


@pytest.mark.parametrize(("max_age", "lasts"), [(100, 100), ("session", 60), (None, None)])
async def test_who_only_reads_gets_the_cookie_anew_when_half_of_it_is_over(state, max_age, lasts):
    now, sessions = state.sessions.now(), state.sessions

    async def put(request):
        request.session["a"] = 1
        return JSONResponse({})

    async def read(request):
        return JSONResponse(dict(request.session))

    async def untouched(_):
        return JSONResponse({})

    async def read_while_it_moves(request):
        await sessions.rotate(await sessions.of_cookie(request.cookies["session"]))
        return JSONResponse(dict(request.session))

    paths = [put, read, untouched, read_while_it_moves]
    routes = [Route("/" + each.__name__, each) for each in paths]
    app = SessionMiddleware(Starlette(routes=routes), state=state, secure=False, max_age=max_age)

    async def sent(client, path, after):
        sessions._server_now = lambda: now + after
        return (await client.get(path)).headers.get("set-cookie")

    async with browser(app) as client:
        first = await sent(client, "/put", 0)
        assert (f"; Max-Age={lasts}" in first) is (lasts is not None)
        half = (lasts or 60) / 2
        assert await sent(client, "/read", half - 2) is None
        assert await sent(client, "/untouched", half + 1) is None, "it may be cached for others"
        anew = await sent(client, "/read", half + 1)
        if max_age is None:
            assert anew is None
            return
        assert f"; Max-Age={lasts}" in anew
        assert await sent(client, "/read", half + 2) is None, "it was sent a second ago"
        back = await sent(client, "/read", half - 9)
        assert f"; Max-Age={lasts}" in back, "the clock was set back, that of the browser was not"
        assert await sent(client, "/read", half - 8) is None
        assert (await client.get("/read")).json() == {"a": 1}
        told = await sent(client, "/read_while_it_moves", 2 * half + 2)
        assert told is None, "the client may have a newer cookie by now"


async def test_what_changes_while_somebody_logs_in_goes_along_by_what_is_stored(state, monkeypatch):
    """To Python 1 is True, and [0] is [False]."""
    mine = await state.sessions.create(data={"a": 1, "b": [0], "c": 1})
    ends = state.sessions._births._ends
    end, changes = ends.end_unchanged, [{"a": True, "b": [False]}]

    async def overtaken(*given, **more):
        if changes:
            await state.sessions.update(mine, set=changes.pop())
        return await end(*given, **more)

    monkeypatch.setattr(ends, "end_unchanged", overtaken)
    made = await state.sessions.authenticate(mine, "42")
    assert repr(made.data) == repr({"a": True, "b": [False], "c": 1})


@pytest.mark.parametrize("on_full", OnFull)
async def test_to_be_remembered_takes_no_place_of_its_own(state, on_full):
    state.sessions.use(replace(POLICY, max_per_user=2, on_full=on_full))
    mine, other = [await state.sessions.create("42", {"n": n}) for n in range(2)]
    await lapsed(state)
    made = await state.sessions.authenticate(mine, "42", idle=100)
    assert made.data == {"n": 0}
    assert {each.handle for each in await state.sessions.of_user("42")} == {
        made.handle,
        other.handle,
    }


async def test_a_cookie_is_sent_anew_only_of_what_was_just_read_and_is_the_newest_here():
    clock = FakeClock()
    async with memory_state(clock=clock) as state:
        made = await state.sessions.create("42", {"a": 1})
        read = await state.sessions.get(made.id)
        assert read is not None
        assert state.sessions.is_current(read)
        written = await state.sessions.update(read, set={"a": 2})
        assert not state.sessions.is_current(read), "the client has seen a newer version"
        assert state.sessions.is_current(written)
        clock.advance(2)
        assert not state.sessions.is_current(written), "another instance may have moved it"
        await state.sessions.get(made.id)
        assert state.sessions.is_current(written)


async def test_it_is_asked_for_over_http():
    token = "gateway-token-0001"
    state = SharedState(from_env({"ARAGORA_GATEWAY_TOKEN": token}))
    app = create_app(state)
    async with app.router.lifespan_context(app), browser(app) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        made = (await client.post("/v1/sessions", json={"idle": 5, "absolute": 100})).json()
        assert (made["idle"], round(made["expires_at"] - made["created_at"])) == (5, 100)
        refused = await client.post("/v1/sessions", json={"absolute": 90_000})
        assert (refused.status_code, "longest" in refused.text) == (422, True)
        named = {"X-Session-Id": made["id"]}
        refused = await client.post("/v1/sessions/rotate", json={"idle": 9}, headers=named)
        assert refused.status_code == 422
        asked = {"user": "42", "idle": 9}
        made = await client.post("/v1/sessions/rotate", json=asked, headers=named)
        assert made.json()["idle"] == 9


async def test_a_session_that_is_only_updated_outlives_the_key_that_sealed_it(tmp_path):
    """What is kept of it within the last seconds is not taken for how it lies in Redis."""
    file = tmp_path / "keys"
    old, new = f"old:{'o' * 40}", f"new:{'n' * 40}"
    file.write_text(old)
    clock = FakeClock()
    settings = from_env({"ARAGORA_SESSION_KEYS_FILE": str(file)})
    async with memory_state(clock=clock, settings=settings) as state:
        store = state.sessions._store
        session = await state.sessions.create(user="42", data={"a": 1})
        for number, keys in enumerate((old, f"{new}\n{old}", f"{new}\n{old}", new, new)):
            file.write_text(keys)
            clock.advance(1.5)
            session = await state.sessions.update(session, set={f"b{number}": number})
            kept = store.as_of(session.ref, session.version)
            # With the answer that told of it, what was stale is sealed anew, and read next.
            assert (kept is None) is (number == 1)
        found = await state.sessions.get(session.id)
        assert found is not None
        assert found.data == {"a": 1} | {f"b{number}": number for number in range(5)}
