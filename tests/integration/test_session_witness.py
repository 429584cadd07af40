"""A store that is older than what a client has seen: the client is to log in again."""

from __future__ import annotations

import httpx
import pytest
import redis
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.integration.fleet import instances, until

from aragora_redis.events import SessionRefused
from aragora_redis.web.starlette import SessionMiddleware, session_of


class Service:
    """Browsers of one service; each tab has the cookies it was given."""

    def __init__(self, state):
        async def login(request):
            await session_of(request).login("42")
            return JSONResponse({})

        async def set_role(request):
            request.session["role"] = request.query_params["role"]
            return JSONResponse({})

        async def rotate(request):
            await session_of(request).rotate()
            return JSONResponse({})

        async def read(request):
            return JSONResponse({"user": session_of(request).user, **request.session})

        async def own(request):
            session = session_of(request)
            found = await session.of_user()
            if request.query_params:
                await session.end_others()
            return JSONResponse([(s.device, s.address, s.handle == session.handle) for s in found])

        app = Starlette(
            routes=[Route("/" + f.__name__, f) for f in (login, set_role, rotate, read, own)]
        )
        self._app = SessionMiddleware(
            app, state=state, secure=False, trusted_proxies=["127.0.0.0/8"]
        )

    def tab(self, cookies=(), **headers):
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app, raise_app_exceptions=False),
            base_url="http://service",
            cookies=dict(cookies),
            headers=headers,
        )


@pytest.fixture
def server(standalone_lab):
    node = standalone_lab.node("redis-0")
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
        yield client


async def test_a_rolled_back_session_is_ended_and_not_gone_on_with(standalone_lab, server):
    """An administrator takes a role away; a restored backup gives it back."""
    async with instances(standalone_lab, 2) as (one, two):
        here, there = Service(one), Service(two)
        heard = []
        two.events.subscribe(lambda e: heard.append(e) if isinstance(e, SessionRefused) else None)
        async with here.tab() as tab:
            await tab.get("/login")
            await tab.get("/set_role?role=admin")
            async with there.tab(tab.cookies) as second:
                session_id = tab.cookies["session"].partition(".")[0]
                stored = await one.sessions.get(session_id)
                key = one.sessions._store.keys.session(stored.ref)
                backup = server.dump(key)
                assert (await second.get("/read")).json()["role"] == "admin"
                await tab.get("/set_role?role=user")
                assert (await second.get("/read")).json()["role"] == "user", "an older tab goes on"
                server.restore(key, 60_000, backup, replace=True)
                async with there.tab(tab.cookies) as newest:
                    assert (await newest.get("/read")).json() == {"user": None}
                assert heard == [SessionRefused("rolled-back")]
                assert (await second.get("/read")).json() == {"user": None}, (
                    "nobody goes on with it"
                )
                await until(lambda: one.revocations.has_ended(stored.ref.member))
                assert (await tab.get("/read")).json() == {"user": None}


async def test_tabs_rotations_and_reads_leave_the_witness_true(standalone_lab):
    async with instances(standalone_lab, 2) as (one, two):
        here, there = Service(one), Service(two)
        async with here.tab() as tab:
            await tab.get("/login")
            async with there.tab(tab.cookies) as other:
                for number in range(3):
                    for each in (tab, other):
                        await each.get(f"/set_role?role={number}")
                        assert (await each.get("/read")).json()["role"] == str(number)
                assert "set-cookie" not in (await tab.get("/read")).headers
                await tab.get("/rotate")
                await other.get("/set_role?role=by-the-old-id")
                for each in (tab, other):
                    answer = await each.get("/read")
                    assert answer.json() == {"user": "42", "role": "by-the-old-id"}
                value = tab.cookies["session"]
                for forged in (
                    value.partition(".")[0],
                    value[:-1] + ("A" if value[-1] != "A" else "Q"),
                    value.replace(value.split(".")[1], "1"),
                    value.replace(value.split(".")[1], "9" * 16),
                ):
                    async with here.tab({"session": forged}) as thief:
                        assert (await thief.get("/read")).json() == {"user": None}
                assert (await tab.get("/read")).json()["user"] == "42", "no forgery ends it"


async def test_users_see_where_they_are_logged_in(standalone_lab):
    async with instances(standalone_lab, 1) as (state,):
        service = Service(state)
        await state.sessions.end_user("42")
        phone = {"User-Agent": "Phone", "X-Forwarded-For": "203.0.113.9"}
        async with service.tab(**phone) as one, service.tab(**{"User-Agent": "Laptop"}) as two:
            await one.get("/login")
            await two.get("/login")
            assert (await two.get("/own")).json() == [
                ["Phone", "203.0.113.9", False], ["Laptop", "127.0.0.1", True],
            ]  # fmt: skip
            one.headers["X-Forwarded-For"] = "198.51.100.7"
            await one.get("/read")
            assert (await two.get("/own?end")).json()[0][1] == "198.51.100.7"
            assert (await one.get("/read")).json() == {"user": None}
            assert len((await two.get("/own")).json()) == 1
