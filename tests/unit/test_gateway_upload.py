"""Bodies that are read as they are used, and imports of any length over HTTP."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from aragora_redis.gateway import upload
from aragora_redis.gateway.app import create_app
from aragora_redis.gateway.upload import PATIENCE, SLOWEST, UPLOAD_LIMIT, Upload
from aragora_redis.settings import from_env
from aragora_redis.state.revocations.importing import IMPORT_STEP
from aragora_redis.state.shared import SharedState
from aragora_redis.testing import FakeClock
from aragora_redis.tokens.entry import DAY, MEMBER_BYTES, NOTE_LIMIT, Entry
from aragora_redis.tokens.lines import LINE_LIMIT
from aragora_redis.tokens.transfer import Writer

IMPORT = "/v1/tokens/import"
ADMIN = "admin-token-000001"


@pytest.fixture
async def gateway():
    state = SharedState(from_env({"ARAGORA_ADMIN_TOKEN": ADMIN}))
    async with (
        state,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(state)),
            base_url="http://localhost:8080",
            headers={"Authorization": f"Bearer {ADMIN}"},
        ) as client,
    ):
        yield state, client


def exported(state, count, note=""):
    day = int(time.time() // DAY) + 1
    members = (number.to_bytes(MEMBER_BYTES, "big") for number in range(count))
    writer = Writer(state.settings.fingerprint, time.time())
    entries = [Entry(day, member, day * DAY * 1000, note) for member in members]
    return writer.head + writer.lines(entries) + writer.end()


async def pieces(body, size=65_536):
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def test_an_import_may_be_longer_than_any_other_body(gateway):
    state, client = gateway
    body = exported(state, 10_000, "\u2000" * NOTE_LIMIT)
    assert len(body) > 8 * 1024 * 1024, "what was refused when it was read first"
    loaded = await client.post(IMPORT, content=pieces(body))
    assert (loaded.status_code, loaded.json()["entries"], len(state.tokens)) == (
        200,
        10_000,
        10_000,
    )
    other = await client.put(IMPORT, content=pieces(body))
    assert other.status_code == 413, "what is no import is bounded as before"
    declared = await client.post(IMPORT, headers={"Content-Length": str(UPLOAD_LIMIT + 1)})
    assert declared.status_code == 413


async def test_an_upload_that_stops_says_what_it_has_joined_and_holds_nothing(gateway, monkeypatch):
    state, client = gateway
    monkeypatch.setattr(upload, "PATIENCE", 1.0)
    body = exported(state, IMPORT_STEP + 500)

    async def stopping():
        yield body[:-150]
        await asyncio.Event().wait()

    stopped = [asyncio.create_task(client.post(IMPORT, content=stopping())) for _ in range(3)]
    answers = {answer.status_code: answer.json() for answer in await asyncio.gather(*stopped)}
    assert set(answers) == {408, 503}, "two at once, and no more"
    last = IMPORT_STEP + 500  # with the first line, and without the last two
    assert f"end after line {last}" in answers[408]["detail"]
    assert (answers[408]["ran"], len(state.tokens)) == ("yes", last - 1)
    endless = await client.post(IMPORT, content=pieces(exported(state, 1)[:-9] + b"x" * LINE_LIMIT))
    assert (endless.status_code, endless.json()["ran"]) == (413, "yes")


@pytest.mark.parametrize(("rate", "whole"), [(SLOWEST // 16, False), (2 * SLOWEST, True)])
async def test_a_client_may_be_slow_but_not_for_ever(rate, whole):
    clock, asked = FakeClock(), 0

    async def receive():
        nonlocal asked
        asked += 1
        clock.advance(1.0)
        return {
            "type": "http.request",
            "body": b"x" * 99 + b"\n" * (rate - 99),
            "more_body": asked < 90,
        }

    body = Upload(receive, clock)
    count = sum([1 async for _ in body.lines()])
    assert (body.broken is None, asked == 90) == (whole, whole)
    assert whole or PATIENCE <= asked <= PATIENCE * 16 / 15 + 1
    assert count
