"""`request.session` over an in-process state."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from aragora_redis import SharedState
from aragora_redis.errors import (
    InvalidInputError,
    LinkDownError,
    OutageError,
    Ran,
    SessionConflictError,
    SessionGoneError,
    SessionUnreadableError,
)
from aragora_redis.settings import Settings
from aragora_redis.web.cookie import Cookie
from aragora_redis.web.starlette import (
    NotLoadedError,
    SessionMiddleware,
    WebSession,
    session_of,
)


class Service:
    """An application with one route for each thing to do with a session."""

    def __init__(self, state, **options):
        self.state = state
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        app = Starlette(
            routes=[
                Route(f"/{name}", getattr(self, name), methods=["GET", "POST"])
                for name in (
                    "read", "put", "append", "remove", "clear", "login", "rotate", "end", "plain",
                    "slow", "wrong", "lazily", "take",
                )
            ]
            + [WebSocketRoute("/ws", self.ws)]
        )  # fmt: skip
        self.app = SessionMiddleware(app, state=state, **({"secure": False} | options))

    def client(self, **cookies):
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://service",
            cookies=cookies,
        )

    async def read(self, request: Request):
        return JSONResponse(dict(request.session) | {"user": session_of(request).user})

    async def put(self, request: Request):
        request.session.update(request.query_params)
        return PlainTextResponse("ok")

    async def append(self, request: Request):
        request.session.setdefault("items", []).append(1)
        return PlainTextResponse("ok")

    async def remove(self, request: Request):
        del request.session[request.query_params["name"]]
        return PlainTextResponse("ok")

    async def clear(self, request: Request):
        self.waiting.set()
        await self.gate.wait()
        request.session.clear()
        return PlainTextResponse("ok")

    async def login(self, request: Request):
        request.session["at"] = "login"
        await session_of(request).login(request.query_params.get("user", "42"))
        request.session["after"] = "login"
        return PlainTextResponse("ok")

    async def rotate(self, request: Request):
        await session_of(request).rotate()
        return PlainTextResponse("ok")

    async def end(self, request: Request):
        await session_of(request).end()
        return PlainTextResponse("ok")

    async def plain(self, _: Request):
        return PlainTextResponse("ok", background=BackgroundTask(lambda: None))

    async def slow(self, request: Request):
        await self.gate.wait()
        request.session.update(request.query_params)
        return PlainTextResponse("ok")

    async def take(self, request: Request):
        taken = request.session.pop("message")
        await self.gate.wait()
        request.session.update(request.query_params)
        return PlainTextResponse(taken)

    async def wrong(self, request: Request):
        request.session["x"] = object()
        return PlainTextResponse("ok")

    async def lazily(self, request: Request):
        await session_of(request).load()
        return JSONResponse(dict(request.session))

    async def ws(self, socket):
        await socket.accept()
        await socket.send_json(dict(socket.session))
        await socket.close()


@pytest.fixture
async def state():
    async with SharedState(Settings()) as made:
        yield made


@pytest.fixture
def asked(state):
    """The scripts that were run."""
    scripts = []
    run = state._executor.run

    async def counted(operation, *, within):
        scripts.append(operation.script.name)
        return await run(operation, within=within)

    state._executor.run = counted
    return lambda: [name for name in scripts if name.startswith("session")]


async def test_no_session_begins_before_something_is_put_into_it(state, asked):
    async with Service(state).client() as client:
        for path in ("/plain", "/read", "/clear", "/rotate"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert "set-cookie" not in answer.headers or path == "/clear"
        assert asked() == []
        assert (await client.get("/read")).headers["vary"] == "Cookie"
        assert "vary" not in (await client.get("/plain")).headers


async def test_what_is_put_is_read_back_and_written_once(state, asked):
    async with Service(state).client() as client:
        first = await client.get("/put?a=1&b=2")
        assert "HttpOnly; SameSite=Lax" in first.headers["set-cookie"]
        read = await client.get("/read")
        assert read.json() == {"a": "1", "b": "2", "user": None}
        assert "set-cookie" not in read.headers
        assert (await client.get("/put?a=1")).status_code == 200
        assert asked() == ["session_create", "session_read", "session_read"]
        await client.get("/append")
        await client.get("/append")
        await client.get("/remove?name=a")
        assert (await client.get("/read")).json() == {"b": "2", "items": [1, 1], "user": None}
        assert asked().count("session_update") == 3


async def test_requests_at_once_lose_nothing_of_each_other(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?start=1")
        service.gate.clear()
        requests = [asyncio.create_task(client.get(f"/slow?f{n}={n}")) for n in range(10)]
        await asyncio.sleep(0)
        service.gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*requests)] == [200] * 10
        read = (await client.get("/read")).json()
        assert {f"f{n}" for n in range(10)} <= set(read)


@pytest.mark.parametrize(
    ("on_conflict", "status", "left"), [("refuse", 409, "2"), ("overwrite", 200, "1")]
)
async def test_two_changes_of_one_field(state, on_conflict, status, left):
    service = Service(state, on_conflict=on_conflict)
    async with service.client() as client:
        await client.get("/put?a=0")
        service.gate.clear()
        slow = asyncio.create_task(client.get("/slow?a=1"))
        while not service.gate._waiters:  # noqa: ASYNC110 - it tells when the request has read
            await asyncio.sleep(0)
        await client.get("/put?a=2")
        service.gate.set()
        answer = await slow
        assert answer.status_code == status
        if status == 409:
            assert answer.json()["ran"] == "no"
            assert "ok" not in answer.text.split('"')
            assert "set-cookie" not in answer.headers
        assert (await client.get("/read")).json()["a"] == left


async def test_requests_at_once_that_both_remove_a_field_want_the_same(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/login")
        for paths in (["/take", "/take"], ["/take", "/take?b=1"]):
            await client.get("/put?message=saved")
            service.gate.clear()
            taking = [asyncio.create_task(client.get(path)) for path in paths]
            while len(service.gate._waiters) < 2:  # noqa: ASYNC110 - both have read then
                await asyncio.sleep(0)
            service.gate.set()
            answers = await asyncio.gather(*taking)
            assert [(each.status_code, each.text) for each in answers] == [(200, "saved")] * 2
        left = {"at": "login", "after": "login", "b": "1", "user": "42"}
        assert (await client.get("/read")).json() == left


async def test_a_slow_request_cannot_bring_a_session_back(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/login")
        cookies = dict(client.cookies)
        service.gate.clear()
        async with service.client(**cookies) as other:
            slow = asyncio.create_task(other.get("/slow?a=1"))
            while not service.gate._waiters:  # noqa: ASYNC110 - it tells when the request has read
                await asyncio.sleep(0)
            assert "Max-Age=0" in (await client.get("/end")).headers["set-cookie"]
            service.gate.set()
            answer = await slow
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers, "it may be another login's by now"
        async with service.client(**cookies) as late:
            assert (await late.get("/read")).json() == {"user": None}
        assert await state.sessions.of_user("42") == []


async def test_login_gives_a_new_id_and_ends_the_one_before(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?cart=7")
        before = dict(client.cookies)
        await client.get("/login")
        assert dict(client.cookies) != before
        logged_in = {"cart": "7", "at": "login", "after": "login", "user": "42"}
        assert (await client.get("/read")).json() == logged_in
        async with service.client(**before) as attacker:
            assert (await attacker.get("/read")).json() == {"user": None}
        again = dict(client.cookies)
        await client.get("/login")
        assert dict(client.cookies) != again, "a login of the same user rotates"


async def test_login_over_the_session_of_another_user_takes_nothing_of_it(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/login")
        await client.get("/put?address=mine")
        theirs = dict(client.cookies)
        assert (await client.get("/login?user=43")).status_code == 200
        read = (await client.get("/read")).json()
        assert read == {"after": "login", "user": "43"}
        async with service.client() as thief:
            thief.cookies.update(theirs)
            assert (await thief.get("/read")).json() == {"user": None}
        assert [await state.sessions.of_user(user) != [] for user in ("42", "43")] == [False, True]


@pytest.mark.parametrize("before", [None, "42"], ids=["nobody", "the user"])
@pytest.mark.parametrize("life", [{}, {"idle": 100.0}], ids=["as ever", "other life"])
async def test_of_two_logins_at_once_each_has_a_session(state, before, life):
    """As where a form is submitted twice: both passwords were right."""
    made = await state.sessions.create(before, {"cart": "book"})
    cookie = state.sessions.cookie(made)
    both = [WebSession(state.sessions, cookie, overwrite=False) for _ in range(2)]
    for each in both:
        await each.load()
    await asyncio.gather(*(each.login("42", **life) for each in both))
    found = [await state.sessions.of_cookie(each.cookie_value) for each in both]
    assert [each.user for each in found] == ["42", "42"]
    assert sorted(len(each.data) for each in found) == [0, 1], "what it held goes to one alone"
    assert [dict(each) for each in both] == [each.data for each in found]
    assert await state.sessions.get(made.id) is None


async def test_login_without_a_session(state):
    async with Service(state).client() as client:
        await client.get("/login")
        read = (await client.get("/read")).json()
        assert read == {"at": "login", "after": "login", "user": "42"}
        assert len(await state.sessions.of_user("42")) == 1


async def test_rotation_keeps_what_is_under_way(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?a=1")
        before = dict(client.cookies)
        await client.get("/rotate")
        assert dict(client.cookies) != before
        async with service.client(**before) as under_way:
            answer = await under_way.get("/put?b=2")
            assert "set-cookie" not in answer.headers
        assert (await client.get("/read")).json() == {"a": "1", "b": "2", "user": None}


async def test_an_emptied_session_ends(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?a=1")
        before = dict(client.cookies)
        assert "Max-Age=0" in (await client.get("/clear")).headers["set-cookie"]
        async with service.client(**before) as late:
            assert (await late.get("/read")).json() == {"user": None}


@pytest.mark.parametrize("cookie", ["", "x", "A" * 46, "é", "a" * 5000, '"'])
async def test_a_cookie_that_was_made_up_is_not_adopted(state, cookie):
    service = Service(state)
    async with service.client() as client:
        headers = {b"Cookie": f"session={cookie}".encode()}
        assert (await client.get("/read", headers=headers)).json() == {"user": None}
        made = await client.get("/put?a=1", headers=headers)
        assert made.status_code == 200
        given = made.headers["set-cookie"].split(";")[0].partition("=")[2]
        assert given != cookie
        assert await state.sessions.of_cookie(given) is not None


async def test_an_outage_is_a_problem_and_loses_nothing(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?a=1")
        state._executor.outage = LinkDownError("Redis is away")
        assert (await client.get("/read")).json()["a"] == "1", "read from a copy"
        refused = await client.get("/put?a=2")
        assert (refused.status_code, refused.json()["ran"]) == (503, "no")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-type"] == "application/problem+json"
        async with service.client() as new:
            assert (await new.get("/plain")).status_code == 200
            assert (await new.get("/put?a=1")).status_code == 503
        state.sessions._store._copies._copies.clear()
        assert (await client.get("/read")).status_code == 503
        state._executor.outage = None
        assert (await client.get("/read")).json()["a"] == "1"


async def test_what_cannot_be_stored_is_a_problem(state, caplog):
    async with Service(state).client() as client:
        refused = await client.get("/wrong")
    assert (refused.status_code, refused.json()["ran"]) == (422, "no")
    assert "of type object" in caplog.text


async def test_in_an_outage_only_who_touches_the_session_fails(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?a=1")
        state.sessions._store._copies._copies.clear()
        state._executor.outage = LinkDownError("Redis is away")
        assert (await client.get("/plain")).text == "ok"
        assert (await client.get("/read")).status_code == 503


@pytest.mark.parametrize("load", ["auto", "explicit"])
async def test_a_logout_needs_no_redis(state, load):
    service = Service(state, load=load)
    async with service.client() as client:
        await client.get("/login")
        stolen = dict(client.cookies)
        state.sessions._store._copies._copies.clear()
        state._executor.outage = LinkDownError("Redis is away")
        answer = await client.get("/end")
        assert answer.status_code == 200
        assert "Max-Age=0" in answer.headers["set-cookie"]
        state._executor.outage = None
    async with service.client(**stolen) as thief:
        again = await thief.get("/end")
        assert again.status_code == 200
        assert (await state.sessions.of_cookie(stolen["session"])) is None
        assert await state.sessions.of_user("42") == []


@pytest.mark.parametrize("path", ["/end", "/login"])
async def test_what_cannot_be_opened_here_is_ended_all_the_same(state, path, monkeypatch):
    """By a logout and a login: other instances may have the key that this one lacks."""

    async def unreadable(*_given, **_more):
        raise SessionUnreadableError("unknown-key")

    made = await state.sessions.create("42", {"a": 1})
    service = Service(state)
    async with service.client(session=state.sessions.cookie(made)) as client:
        with monkeypatch.context() as patch:
            patch.setattr(state.sessions._store, "find", unreadable)
            answer = await client.get(path)
            assert answer.status_code == 200
    assert await state.sessions.get(made.id) is None


async def test_who_cannot_be_logged_out_now_keeps_what_it_can_be_tried_again_with(
    state, monkeypatch
):
    made = await state.sessions.create("42", {"a": 1})
    session = WebSession(state.sessions, state.sessions.cookie(made), overwrite=False)
    await session.load()

    async def fail(_):
        raise SessionConflictError("the session keeps being rotated")

    with monkeypatch.context() as patched:
        patched.setattr(state.sessions, "end", fail)
        with pytest.raises(SessionConflictError):
            await session.end()
    assert (session.cookie, session.user) == (Cookie.KEEP, "42")
    await session.end()
    assert (session.cookie, session.user) == (Cookie.DELETE, None)
    assert await state.sessions.get(made.id) is None


async def test_an_emptied_session_that_another_request_fills_lives_on(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?a=1")
        service.gate.clear()
        emptying = asyncio.create_task(client.get("/clear"))
        await service.waiting.wait()
        await client.get("/put?b=2")
        service.gate.set()
        await emptying
        read = (await client.get("/read")).json()
    assert read == {"b": "2", "user": None}


async def test_two_requests_at_once_that_empty_a_session_are_both_answered(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/put?a=1")
        cookies = dict(client.cookies)
        service.gate.clear()
        emptying = asyncio.create_task(client.get("/clear"))
        await service.waiting.wait()
        async with service.client(**cookies) as other:
            service.waiting.clear()
            late = asyncio.create_task(other.get("/clear"))
            await service.waiting.wait()
            service.gate.set()
            answers = [await emptying, await late]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers.get("set-cookie", "") != "" for answer in answers] == [True, False]


async def test_a_user_is_not_logged_out_by_an_empty_session(state):
    async with Service(state).client() as client:
        await client.get("/put?a=1")
        await client.get("/login")
        await client.get("/clear")
        assert (await client.get("/read")).json() == {"user": "42"}


TOUCHES: dict[str, Any] = {
    "id": lambda session: session.id,
    "handle": lambda session: session.handle,
    "user": lambda session: session.user,
    "load": lambda session: session.load(),
    "login": lambda session: session.login("42"),
    "rotate": lambda session: session.rotate(),
    "end": lambda session: session.end(),
    "of_user": lambda session: session.of_user(),
    "end_others": lambda session: session.end_others(),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
async def test_what_depends_on_the_session_is_cached_for_nobody_else(state, touch):
    async def endpoint(request: Request):
        if inspect.isawaitable(found := touch(session_of(request))):
            await found
        return PlainTextResponse("ok")

    untouched = Route("/untouched", lambda _: PlainTextResponse("ok"))
    app = Starlette(routes=[Route("/", endpoint), untouched])
    made = await state.sessions.create("42")
    transport = httpx.ASGITransport(SessionMiddleware(app, state=state, secure=False))
    cookies = {"session": state.sessions.cookie(made)}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://service", cookies=cookies
    ) as client:
        assert "vary" not in (await client.get("/untouched")).headers
        assert (await client.get("/")).headers["vary"] == "Cookie"


async def test_no_request_waits_long_for_where_its_session_is_shown_to_be_used_from(
    state, monkeypatch
):
    limits = []
    run = state._executor.run

    async def spied(operation, *, within):
        if operation.script.name == "session_update":
            limits.append(within)
        return await run(operation, within=within)

    monkeypatch.setattr(state._executor, "run", spied)
    async with Service(state).client() as client:
        await client.get("/login", headers={"User-Agent": "Firefox"})
        limits.clear()
        await client.get("/plain", headers={"User-Agent": "Chrome"})
        assert len(limits) == 1
        assert limits[0] <= state.settings.deadline
        assert [each.device for each in await state.sessions.of_user("42")] == ["Chrome"]
        state._executor.outage = LinkDownError("Redis is away")
        answer = await client.get("/read", headers={"User-Agent": "Safari"})
        assert answer.json()["user"] == "42", "read from a copy"
        assert len(limits) == 1


@pytest.mark.parametrize("status", [200, 503])
async def test_once_the_response_has_begun_the_client_keeps_the_id_that_it_has(state, status):
    session = await state.sessions.create("42", {"a": 1})
    told = []

    async def endpoint(request: Request):
        async def work():
            mine = session_of(request)
            for change in (mine.login("43"), mine.rotate()):
                with pytest.raises(InvalidInputError):
                    await change
            mine["late"] = 1
            await mine.save()
            told.append(mine.user)

        if status == 503:
            session_of(request)["a"] = 2
            state._executor.outage = LinkDownError("Redis is away")
        return PlainTextResponse("ok", background=BackgroundTask(work))

    routes = [Route("/", endpoint)]
    app = SessionMiddleware(Starlette(routes=routes), state=state, secure=False)
    sent = []

    async def send(message):
        state._executor.outage = None
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    cookie = f"session={state.sessions.cookie(session)}".encode()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"cookie", cookie)]}
    await app(scope | {"query_string": b""}, receive, send)
    assert sent[0]["status"] == status
    assert told == ["42"]
    assert (await state.sessions.get(session.id)).data["late"] == 1
    assert await state.sessions.of_user("43") == []


@pytest.mark.parametrize("change", ["login", "rotate"])
async def test_who_waits_for_the_writing_of_the_response_gives_no_id_after_it(
    state, monkeypatch, change
):
    session = await state.sessions.create("42", {"a": 1})
    run, saving, refused = state._executor.run, asyncio.Event(), []

    async def slowly(operation, *, within):
        saving.set()
        await asyncio.sleep(0.01)
        return await run(operation, within=within)

    async def endpoint(request: Request):
        mine = session_of(request)

        async def work():
            await saving.wait()
            with pytest.raises(InvalidInputError, match="no cookie"):
                await (mine.login("42") if change == "login" else mine.rotate())
            refused.append(mine.id)

        mine["a"] = 2
        monkeypatch.setattr(state._executor, "run", slowly)
        working = asyncio.create_task(work())
        return PlainTextResponse("ok", background=BackgroundTask(asyncio.wait_for, working, 5))

    app = SessionMiddleware(Starlette(routes=[Route("/", endpoint)]), state=state, secure=False)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://service",
        cookies={"session": state.sessions.cookie(session)},
    ) as client:
        assert (await client.get("/")).status_code == 200
    assert refused == [session.id]
    assert (await state.sessions.get(session.id)).data == {"a": 2}


@pytest.mark.parametrize("status", [422, 503])
@pytest.mark.parametrize("change", ["login", "rotate"])
async def test_a_new_id_reaches_the_client_though_what_came_after_it_is_not_written(
    state, change, status
):
    made = await state.sessions.create(data={"a": 1})

    async def endpoint(request: Request):
        mine = session_of(request)
        await (mine.login("42") if change == "login" else mine.rotate())
        mine["a"] = object() if status == 422 else 2
        if status == 503:
            state._executor.outage = LinkDownError("Redis is away")
        return PlainTextResponse("ok", headers={"Set-Cookie": "theme=dark"})

    app = SessionMiddleware(Starlette(routes=[Route("/", endpoint)]), state=state, secure=False)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://service",
        cookies={"session": state.sessions.cookie(made)},
    ) as client:
        answer = await client.get("/")
    state._executor.outage = None
    assert answer.status_code == status
    assert list(answer.cookies) == ["session"]
    found = await state.sessions.of_cookie(answer.cookies["session"])
    assert (found.user, found.data) == ("42" if change == "login" else None, {"a": 1})
    assert found.id != made.id


async def test_excluded_paths_have_no_session(state, asked):
    service = Service(state, exclude=["/plain"])
    async with service.client() as client:
        await client.get("/put?a=1")
        await client.get("/plain")
        assert asked() == ["session_create"]


async def test_it_may_be_read_when_it_is_needed(state, asked):
    service = Service(state, load="explicit")
    async with service.client() as client:
        await client.get("/put?a=1")
        await client.get("/plain")
        assert asked() == ["session_create"]
        assert (await client.get("/lazily")).json() == {"a": "1"}
    loud = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(
        transport=loud, base_url="http://service", cookies=dict(client.cookies)
    ) as client:
        with pytest.raises(NotLoadedError):
            await client.get("/read")


NAMES = {name: TOUCHES[name] for name in ("id", "handle", "user")}


@pytest.mark.parametrize("touch", NAMES.values(), ids=NAMES)
async def test_nobody_is_taken_for_one_without_a_session_that_was_not_read(state, touch):
    made = await state.sessions.create("42")
    session = WebSession(state.sessions, state.sessions.cookie(made), overwrite=False)
    with pytest.raises(NotLoadedError):
        touch(session)
    state.sessions._store._copies._copies.clear()
    state._executor.outage = LinkDownError("Redis is away")
    await session.try_load()
    with pytest.raises(OutageError):
        touch(session)
    assert session.told is not None
    state._executor.outage = None
    await session.load()
    assert touch(session) in {made.id, made.handle, "42"}


async def test_a_websocket_reads(state):
    made = await state.sessions.create(data={"a": 1})
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    cookie = f"session={state.sessions.cookie(made)}".encode()
    scope = {"type": "websocket", "path": "/ws", "headers": [(b"cookie", cookie)]}
    await Service(state).app(scope | {"query_string": b"", "subprotocols": []}, receive, send)
    assert [json.loads(each["text"]) for each in sent if "text" in each] == [{"a": 1}]


def test_the_cookie_is_bound_to_the_host_by_default(state):
    form = SessionMiddleware(Starlette(), state=state)._cookie
    assert form.setting("x", None) == "__Host-session=x; Path=/; HttpOnly; SameSite=Lax; Secure"
    form = SessionMiddleware(Starlette(), state=state, same_site="strict")._cookie
    assert form.setting("x", 60).endswith("SameSite=Strict; Secure; Max-Age=60")


@pytest.mark.parametrize(
    "options",
    [
        {"cookie": "__Host-x", "secure": False},
        {"cookie": "__Secure-x", "secure": False},
        {"cookie": "__Host-x", "path": "/app"},
        {"same_site": "none", "secure": False},
    ],
)
def test_a_cookie_that_browsers_would_drop_is_refused(state, options):
    with pytest.raises(InvalidInputError):
        SessionMiddleware(Starlette(), state=state, **options)


async def test_a_store_that_may_not_write_ends_nothing_that_it_is_behind_of(state, monkeypatch):
    made = await state.sessions.create("42")
    run = state._executor.run

    async def deposed(operation, *, within):
        if operation.script.name == "session_end":
            raise LinkDownError("a deposed primary may not write")
        return await run(operation, within=within)

    with monkeypatch.context() as patched:
        patched.setattr(state._executor, "run", deposed)
        with pytest.raises(OutageError):
            await state.sessions.get(made.id, seen=made.version + 1)
    assert not state.revocations.has_ended(made.ref.member)
    assert await state.sessions.get(made.id, seen=made.version) is not None
    assert await state.sessions.get(made.id, seen=made.version + 1) is None
    assert state.revocations.has_ended(made.ref.member)


async def test_who_has_a_session_with_a_field_that_is_no_json_can_log_in_again_and_out(state):
    service = Service(state)
    async with service.client() as client:
        await client.get("/login")
        session = await state.sessions.of_cookie(client.cookies["session"])
        assert session is not None
        key = state.sessions._store.keys.session(session.ref)
        stored = state._executor._memory.get(key)
        stored[b"d:at"] = stored[b"d:at"].rpartition(b" ")[0] + b" {"
        state.sessions._store._copies._copies.clear()  # who holds it is not told what is stored
        with pytest.raises(SessionGoneError) as told:
            await state.sessions.update(session, set={"b": 1})
        assert told.value.ran is Ran.YES
        assert (await client.get("/read")).json() == {"user": None}
        assert "Max-Age=0" in (await client.get("/end")).headers["set-cookie"]


async def test_all_sessions_end_again_and_new_ones_live_though_the_clock_went_back(state):
    ends = state.sessions._ends
    now, ends._server_now = ends._server_now, lambda: now() + 3600
    await state.sessions.end_all()
    ends._server_now = now
    for _ in range(2):
        made = await state.sessions.create("42")
        assert await state.sessions.get(made.id) is not None
        await state.sessions.end_all()
        assert await state.sessions.get(made.id) is None
