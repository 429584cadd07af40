"""What a session costs on the wire: one command where it is read, one more where it has changed."""

from __future__ import annotations

import uuid
from contextlib import contextmanager

import httpx
import pytest
import redis
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.integration.fleet import instances

from aragora_redis.errors import SessionConflictError
from aragora_redis.sync import SharedState as SyncSharedState
from aragora_redis.web.starlette import SessionMiddleware, session_of

SEALED = {"ARAGORA_SESSION_KEYS": "today:" + "k" * 32}


@contextmanager
def commands(lab):
    """The commands that name a session and reach the server meanwhile, as MONITOR tells them.

    Those that a script calls travel nowhere, and are left out.
    """
    node = lab.node("primary")
    end, found = uuid.uuid4().hex, list[str]()
    server = redis.Redis(port=node.port, password=lab.password(node), decode_responses=True)
    with server, server.client() as other, server.monitor() as monitor:
        yield found
        other.echo(end)
        for each in monitor.listen():
            if end in each["command"]:
                return
            if each["client_type"] != "lua" and ":s:{s" in each["command"]:
                found.append(each["command"])


@pytest.mark.parametrize("env", [{}, SEALED], ids=["plain", "sealed"])
async def test_a_read_is_one_round_trip_and_a_change_one_more(standalone_lab, env):
    async with instances(standalone_lab, 2, **env) as (one, two):
        made = await one.sessions.create(user="42", data={"visits": 0})
        for state in (one, two, two):  # by who has made it, who has not seen it, and who has
            with commands(standalone_lab) as clean:
                read = await state.sessions.get(made.id)
            assert len(clean) == 1, clean
            with commands(standalone_lab) as changed:
                read = await state.sessions.get(made.id)
                await state.sessions.update(read, set={"visits": read.data["visits"] + 1})
            assert len(changed) == 2, changed
        assert (await one.sessions.get(made.id)).data == {"visits": 3}


async def test_neither_another_s_change_nor_a_conflict_costs_a_round_trip_more(standalone_lab):
    async with instances(standalone_lab, 2) as (one, two):
        made = await one.sessions.create(data={"mine": 0, "its": 0})
        with commands(standalone_lab) as told:
            read = await one.sessions.get(made.id)
            await two.sessions.update(made, set={"its": 1})
            merged = await one.sessions.update(read, set={"mine": 1})
        assert len(told) == 2 + 1, told
        assert merged.data == {"mine": 1, "its": 1}
        with commands(standalone_lab) as told, pytest.raises(SessionConflictError):
            await one.sessions.update(read, set={"its": 2})
        assert len(told) == 1, told


def test_threads_pay_the_same(standalone_lab):
    with SyncSharedState.from_env(standalone_lab.env()) as state:
        made = state.sessions.create(data={"visits": 0})
        with commands(standalone_lab) as clean:
            read = state.sessions.get(made.id)
        with commands(standalone_lab) as changed:
            newest = state.sessions.get(made.id)
            assert newest is not None
            state.sessions.update(newest, set={"visits": 1})
        assert read == newest
        assert (len(clean), len(changed)) == (1, 2)


async def test_a_request_that_only_reads_its_session_is_one_round_trip_and_one_that_writes_two(
    standalone_lab,
):
    async def plain(_):
        return PlainTextResponse("ok")

    async def read(request):
        return PlainTextResponse(f"{request.session.get('visits')}")

    async def count(request):
        request.session["visits"] = request.session.get("visits", 0) + 1
        request.session.setdefault("seen", []).append(request.session["visits"])
        return PlainTextResponse("ok")

    async def login(request):
        await session_of(request).login("42")
        return PlainTextResponse("ok")

    routes = [
        Route(f"/{each.__name__}", each, methods=["POST"]) for each in (plain, read, count, login)
    ]
    async with instances(standalone_lab) as (state,):
        app = SessionMiddleware(Starlette(routes=routes), state=state, secure=False)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            await client.post("/login")
            cost: dict[str, list[int]] = {}
            for path in ("/count", "/read", "/plain", "/count", "/read"):
                with commands(standalone_lab) as told:
                    answer = await client.post(path)
                assert answer.status_code == 200
                cost.setdefault(path, []).append(len(told))
            assert answer.text == "2"
    assert cost == {"/count": [2, 2], "/read": [1, 1], "/plain": [1]}
