"""What a WebSocket changes in its session is written, or told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from aragora_redis.errors import InvalidInputError, LinkDownError
from aragora_redis.settings import Settings
from aragora_redis.state.shared import SharedState
from aragora_redis.web.session import WebSession
from aragora_redis.web.starlette import SessionMiddleware, session_of


@pytest.fixture
async def state():
    async with SharedState(Settings()) as made:
        yield made


async def connect(state, endpoint, session=None, says=()):
    """What a client gets that says this and leaves."""
    app = SessionMiddleware(
        Starlette(routes=[WebSocketRoute("/", endpoint)]), state=state, secure=False
    )
    said: list[Any] = [{"type": "websocket.connect"}]
    said += [{"type": "websocket.receive", "text": text} for text in says]
    said.append({"type": "websocket.disconnect", "code": 1001})
    sent = []

    async def receive():
        return said.pop(0)

    async def send(message):
        sent.append(message)

    cookie = f"session={state.sessions.cookie(session)}" if session else ""
    headers = [(b"cookie", cookie.encode())]
    scope = {"type": "websocket", "path": "/", "headers": headers, "subprotocols": []}
    with contextlib.suppress(WebSocketDisconnect):
        await app(scope | {"query_string": b""}, receive, send)
    return sent


async def test_it_is_written_when_the_application_closes(state):
    made = await state.sessions.create("42", {"a": 1})

    async def endpoint(socket):
        await socket.accept()
        socket.session["a"] = [2]
        await socket.close()
        assert (await state.sessions.get(made.id)).data == {"a": [2]}
        socket.session["a"].append(3)

    sent = await connect(state, endpoint, made)
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.close"]
    assert sent[-1]["code"] == 1000
    assert (await state.sessions.get(made.id)).data == {"a": [2, 3]}


async def test_it_is_written_when_the_client_has_gone(state):
    made = await state.sessions.create("42")

    async def endpoint(socket):
        await socket.accept()
        while True:
            socket.session["last"] = await socket.receive_text()

    await connect(state, endpoint, made, says=["one", "two"])
    assert (await state.sessions.get(made.id)).data == {"last": "two"}


async def test_what_is_put_into_it_until_the_handshake_has_its_cookie(state):
    async def endpoint(socket):
        socket.session["a"] = 1
        await session_of(socket).login("42")
        await socket.accept()
        socket.session["b"] = 2

    accepted, *_ = await connect(state, endpoint)
    (cookie,) = [value.decode() for name, value in accepted["headers"] if name == b"set-cookie"]
    held = await state.sessions.of_cookie(cookie.split(";")[0].partition("=")[2])
    assert (held.user, held.data) == ("42", {"a": 1, "b": 2})


async def test_after_it_no_id_can_be_given(state):
    made = await state.sessions.create("42")
    refused = []

    async def endpoint(socket):
        await socket.accept()
        mine = session_of(socket)
        for attempt in (lambda: mine.login("42"), mine.rotate):
            with pytest.raises(InvalidInputError, match="no cookie"):
                await attempt()
            refused.append(mine.id)

    async def empty(socket):
        await socket.accept()
        with pytest.raises(InvalidInputError, match="no cookie"):
            socket.session["a"] = 1
        refused.append(None)

    await connect(state, endpoint, made)
    await connect(state, empty)
    assert refused == [made.id, made.id, None]


async def test_a_conflict_closes_it_and_a_change_of_another_field_does_not(state, caplog):
    made = await state.sessions.create("42", {"mine": 1, "both": 1})

    async def endpoint(socket):
        await socket.accept()
        version = made.version
        for _ in range(33):  # more than are known to build upon
            other = await state.sessions.update(made.id, version=version, set={"other": version})
            version = other.version
        socket.session["mine"] = 2
        await session_of(socket).save()
        await state.sessions.update(made.id, version=version, set={"both": 2})
        socket.session["both"] = 3

    sent = await connect(state, endpoint, made)
    assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", 1011)
    held = (await state.sessions.get(made.id)).data
    assert (held["mine"], held["both"]) == (2, 2)
    assert "is not written" in caplog.text


async def test_an_outage_and_an_end_are_told(state):
    made = await state.sessions.create("42")

    async def endpoint(socket):
        await socket.accept()
        socket.session["a"] = 1
        state._executor.outage = LinkDownError("Redis is away")
        await socket.close()

    assert (await connect(state, endpoint, made))[-1]["code"] == 1013
    state._executor.outage = None

    async def ended(socket):
        await socket.accept()
        socket.session["a"] = 1
        await state.sessions.end(made)

    assert (await connect(state, ended, made))[-1]["code"] == 1011


async def test_one_that_cannot_be_read_is_told_at_once_whoever_has_taken_the_handshake(state):
    made = await state.sessions.create("42")
    state.sessions._store._copies._copies.clear()
    state._executor.outage = LinkDownError("Redis is away")
    said, sent = [{"type": "websocket.connect"}], []

    async def receive():
        return said.pop()  # a client that waits for its answer says no more

    async def send(message):
        sent.append(message)

    async def endpoint(scope, receive, _):
        await receive()
        scope["session"]["a"]

    app = SessionMiddleware(endpoint, state=state, secure=False)
    cookie = f"session={state.sessions.cookie(made)}"
    headers = [(b"cookie", cookie.encode())]
    await app({"type": "websocket", "path": "/", "headers": headers}, receive, send)
    assert [each["code"] for each in sent] == [1008]


async def test_who_sends_after_its_end_is_told_so(state):
    made = await state.sessions.create("42")
    ends = []

    async def push(socket):
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                await socket.send_text("news")
        except WebSocketDisconnect as gone:
            ends.append(gone.code)

    async def listened(socket):
        await socket.accept()
        with pytest.raises(WebSocketDisconnect):
            await socket.receive_text()
        await push(socket)

    assert [each["type"] for each in await connect(state, listened)] == ["websocket.accept"]

    async def unwritten(socket):
        socket.session["a"] = object()
        await socket.accept()
        await push(socket)

    sent = await connect(state, unwritten, made)
    assert [each.get("code") for each in sent] == [1011]
    assert ends == [1006, 1006]


async def test_what_changes_while_it_is_written_stays_and_is_written_next(state, monkeypatch):
    made = await state.sessions.create("42", {"list": [1], "gone": 1})
    mine = WebSession(state.sessions, state.sessions.cookie(made), overwrite=False)
    await asyncio.gather(mine.load(), mine.load())
    run, saving, meanwhile = state._executor.run, asyncio.Event(), asyncio.Event()

    async def slowly(operation, *, within):
        saving.set()
        await meanwhile.wait()
        return await run(operation, within=within)

    monkeypatch.setattr(state._executor, "run", slowly)
    for write in (mine.save, mine.rotate, lambda: mine.login("42")):
        saving.clear()
        meanwhile.clear()
        held = mine["list"]
        mine["a"] = mine.get("a", 0) + 1
        writing = asyncio.create_task(write())
        await saving.wait()
        again = asyncio.create_task(mine.save())
        mine["a"] += 1
        mine["b"] = held[-1]
        mine.pop("gone", None)
        held.append(held[-1] + 1)
        meanwhile.set()
        await asyncio.gather(writing, again)
        stored = (await state.sessions.get(mine.id)).data
        assert stored == {"list": held, "a": held[-1] * 2 - 2, "b": held[-2]}
        assert dict(mine) == stored
