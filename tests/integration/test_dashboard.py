"""The levers of a lab, pulled over HTTP, and what a watcher is shown."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from tests.gateways import client_of
from tests.integration.fleet import apart, until
from tests.integration.past import give_past

from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState


@pytest.fixture
async def board(sentinel_lab):
    """A client that is logged in, and the application."""
    await asyncio.to_thread(give_past, sentinel_lab)
    env = sentinel_lab.env()
    async with client_of(SharedState(from_env(env)), lab=sentinel_lab) as client:
        client.timeout = 40
        await client.post("/dashboard/login", data={"token": env["ARAGORA_ADMIN_TOKEN"]})
        yield client


async def pull(client, lever):
    page = (await client.get("/dashboard")).text
    (csrf, *_) = re.findall(r'name="csrf" value="([0-9a-f]+)"', page)
    return await client.post("/dashboard/lab", data={"csrf": csrf, "lever": lever})


def admin(lab):
    return {"Authorization": f"Bearer {lab.env()['ARAGORA_ADMIN_TOKEN']}"}


async def shows(client, *texts, within=40):
    end = time.monotonic() + within
    while True:
        page = (await client.get("/dashboard")).text
        if not (missing := [text for text in texts if text not in page]):
            return page
        assert time.monotonic() < end, f"not shown within {within} s: {missing}"
        await asyncio.sleep(0.1)


async def test_a_failover_by_hand_is_seen_and_undone(board, sentinel_lab):
    old = await asyncio.to_thread(sentinel_lab.primary)
    await shows(board, ">Healthy<", f"{old} (")
    assert (await pull(board, "kill primary")).status_code == 303
    await shows(board, f"by hand: killed {old}")
    await shows(board, "Last interruption: back after", "failover: the primary was")
    new = await until(lambda: sentinel_lab.primary() != old and sentinel_lab.primary())
    await shows(board, ">Healthy<", f"{new} (")
    await pull(board, "restore all")
    await shows(board, f"by hand: restored {old}")
    assert (await pull(board, "freeze replica-0")).status_code == 303
    await shows(board, "by hand: froze")
    await pull(board, "restore all")


async def test_a_primary_is_handed_over_after_a_question(board, sentinel_lab):
    old = await asyncio.to_thread(sentinel_lab.primary)
    page = await shows(board, ">Healthy<", f"{old} (", "nothing is wrong")
    (csrf, *_) = re.findall(r'name="csrf" value="([0-9a-f]+)"', page)
    form = {"csrf": csrf, "act": "switchover"}
    asked = await board.post("/dashboard/ask", data=form)
    assert f"Hand over from {old} to a replica?" in asked.text
    assert await asyncio.to_thread(sentinel_lab.primary) == old, "nothing was done yet"
    done = await board.post("/dashboard/do", data=form | {"reason": "a drill"})
    assert done.status_code == 303
    await shows(board, "nothing acknowledged was lost")
    new = await until(lambda: sentinel_lab.primary() != old and sentinel_lab.primary())
    await shows(board, ">Healthy<", f"{new} (", "Last interruption: back after")
    told = await board.get("/v1/audit", headers=admin(sentinel_lab))
    (act,) = [each for each in told.json()["acts"] if each["action"] == "failover"]
    assert (act["reason"], act["via"]) == ("a drill", "dashboard")
    refused = form | {"act": "switchover 127.0.0.1:1"}
    assert "no replica that answers" in (await board.post("/dashboard/ask", data=refused)).text


async def test_each_redis_is_shown_and_handed_over_by_its_own_button(sentinel_lab, make_lab):
    """The revocations have a Redis of their own, the rest is on another."""
    common = make_lab("standalone")
    await asyncio.to_thread(common.start)
    await asyncio.to_thread(give_past, sentinel_lab)
    env = common.env() | apart(sentinel_lab, "TOKENS", "SESSIONS")
    async with client_of(SharedState(from_env(env))) as client:
        client.timeout = 40
        await client.post("/dashboard/login", data={"token": env["ARAGORA_ADMIN_TOKEN"]})
        old = str((await asyncio.to_thread(sentinel_lab.node, "primary")).address)
        alone = str((await asyncio.to_thread(common.node, "redis-0")).address)
        page = await shows(
            client,
            "Each of 2 Redis takes writes.",
            "<h3>The Redis of tokens, sessions</h3>",
            "<h3>The Redis of limits, circuits</h3>",
            f'id="wide-tokens-{old}"',
            f'id="wide-limits-{alone}"',
            "nothing is wrong (4 servers, 3 Sentinels)",
        )
        (csrf, *_) = re.findall(r'name="csrf" value="([0-9a-f]+)"', page)
        assert re.findall(r'value="(switchover[^"]*)"', page) == ["switchover tokens"]
        form = {"csrf": csrf, "act": "switchover tokens", "reason": "a drill"}
        asked = await client.post("/dashboard/ask", data=form)
        assert f"Hand over from {old} to " in asked.text
        assert (await client.post("/dashboard/do", data=form)).status_code == 303
        await shows(client, "nothing acknowledged was lost")
        new = str((await asyncio.to_thread(sentinel_lab.node, "primary")).address)
        assert new != old
        page = await shows(client, "Each of 2 Redis takes writes.", "Last interruption: back after")
        assert 'data-ongoing="true"' not in page
        refused = form | {"act": "switchover limits"}
        told = await client.post("/dashboard/ask", data=refused)
        assert "a single Redis has nobody to hand over to" in told.text


async def test_a_lever_needs_its_page_the_admin_and_a_node(board, sentinel_lab):
    bare = await board.post("/dashboard/lab", data={"lever": "kill primary"})
    assert bare.status_code == 403
    assert (await pull(board, "explode primary")).status_code == 400
    assert (await pull(board, "kill redis-77")).status_code == 303
    await shows(board, "could not kill redis-77")
    await board.post(
        "/dashboard/login", data={"token": sentinel_lab.env()["ARAGORA_GATEWAY_TOKEN"]}
    )
    page = (await board.get("/dashboard")).text
    assert 'name="lever"' not in page
    assert (await pull(board, "kill primary")).status_code == 403
    status = await asyncio.to_thread(sentinel_lab.status)
    assert all(node.state.value == "running" for node in status.nodes)
