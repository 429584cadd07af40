"""Reservations and limits of a subject's own over HTTP, over an in-process state."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.gateways import client_of

from aragora_redis.gateway.limits import DecisionBody
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

GATEWAY, ADMIN = "gateway-token-0001", "admin-token-000001"
POLICIES = """
[limits.llm]
rate = "1000 per hour"
[limits.quick]
rate = "20 per second"
burst = 1
"""
SUBJECT = "/v1/limits/llm/subjects/org%2F7"


@pytest.fixture
async def client(tmp_path):
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    env = {
        "ARAGORA_POLICIES": str(policies),
        "ARAGORA_GATEWAY_TOKEN": GATEWAY,
        "ARAGORA_ADMIN_TOKEN": ADMIN,
        "ARAGORA_RATE_LIMIT_X_HEADERS": "true",
    }
    async with client_of(SharedState(from_env(env)), ADMIN) as made:
        yield made


async def reserve(client, estimate, **given):
    body = {"subject": "org/7", "estimate": estimate} | given
    return await client.post("/v1/limits/llm/reserve", json=body)


async def test_a_reservation_is_settled_by_its_id_and_once(client):
    answer = await reserve(client, 400)
    assert (answer.status_code, answer.json()["remaining"]) == (200, 600)
    assert answer.headers["RateLimit"].startswith('"llm";r=600;')
    assert answer.headers["X-RateLimit-Remaining"] == "600"
    held = answer.json()["reservation"]
    for _ in range(2):
        settled = await client.post("/v1/limits/settle", json={"reservation": held, "cost": 150})
        assert settled.json() == {
            "cost": 150,
            "returned": 250,
            "charged": 0,
            "overrun": 0,
            "found": "held",
            "confirmed": True,
        }
    refused = await reserve(client, 900)
    assert (refused.status_code, refused.json()["reservation"]) == (429, "")
    assert int(refused.headers["Retry-After"]) > 100
    other = (await reserve(client, 800)).json()["reservation"]
    kept = await client.post("/v1/limits/keep", json={"reservation": other, "ttl": 900})
    other = kept.json()["reservation"]
    assert kept.json()["held"] == 800
    refunded = await client.post("/v1/limits/refund", json={"reservation": other})
    assert refunded.json()["returned"] == 800


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("settle", {"reservation": "made-up", "cost": 1}),
        ("settle", {"reservation": "x" * 2049, "cost": 1}),
        ("settle", {"reservation": "made-up", "cost": -1}),
        ("refund", {"reservation": ""}),
        ("llm/reserve", {"subject": "s", "estimate": 0}),
        ("llm/reserve", {"subject": "s", "estimate": 1001}),
        ("llm/reserve", {"subject": "s", "estimate": 1, "ttl": 0}),
        ("llm/check", {"subject": "s", "limit": {"rate": "often"}}),
        ("llm/check", {"subject": "s", "limit": {"rate": "1/second", "burst": 0}}),
    ],
)
async def test_what_cannot_be_is_told(client, path, body):
    answer = await client.post(f"/v1/limits/{path}", json=body)
    assert (answer.status_code, answer.json()["ran"]) == (422, "no")


async def test_a_subject_has_the_limit_that_operators_set(client):
    own = {"rate": "10/second", "burst": 5000, "lasts": 3600}
    assert (await client.put(SUBJECT, json=own)).json() == {"had": False}
    looked = (await client.get(SUBJECT)).json()
    assert (looked["rate"], looked["burst"], looked["own"]) == ("10 per second", 5000, True)
    assert looked["until"] > 1e9
    assert (await reserve(client, 4000)).status_code == 200
    checked = {"subject": "org/7", "limit": {"rate": "1 per hour"}}
    answer = await client.post("/v1/limits/llm/check", json=checked)
    assert answer.json()["limit"] == 5000, "operators come before the call"
    assert (await client.delete(SUBJECT)).json() == {"had": True}
    looked = (await client.get(SUBJECT)).json()
    assert (looked["burst"], looked["own"], looked["until"]) == (1000, False, None)
    checked["subject"] = "another"
    assert (await client.post("/v1/limits/llm/check", json=checked)).json()["limit"] == 1


async def test_only_an_admin_sets_limits(client):
    client.headers["Authorization"] = f"Bearer {GATEWAY}"
    assert (await client.get(SUBJECT)).status_code == 200
    assert (await client.put(SUBJECT, json={"rate": "1/second"})).status_code == 403
    assert (await client.delete(SUBJECT)).status_code == 403


async def check(client, wait, **given):
    body = {"subject": "s", "wait": wait} | given
    return await client.post("/v1/limits/quick/check", json=body)


async def test_a_check_waits_for_its_turn_and_not_in_vain(client):
    answers = await asyncio.gather(*(check(client, 10) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    own = {"rate": "1 per hour"}
    assert (await check(client, 10, subject="t", limit=own)).status_code == 200
    began = time.monotonic()
    refused = await check(client, 30, subject="t", limit=own)
    assert (refused.status_code, time.monotonic() - began < 5) == (429, True)
    assert int(refused.headers["Retry-After"]) > 3000
    for wait in (-1, 31, "1", None):
        assert (await check(client, wait)).status_code == 422


async def test_a_check_of_several_limits_waits_too(client):
    async def check_all(wait):
        checks = [{"policy": "quick", "subject": "s"}, {"policy": "llm", "subject": "s"}]
        return await client.post("/v1/limits/check", json={"checks": checks, "wait": wait})

    answers = await asyncio.gather(*(check_all(10) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    await client.post("/v1/limits/llm/check", json={"subject": "s", "cost": 996})
    refused = await check_all(3)
    assert (refused.status_code, refused.json()["allowed"]) == (429, False)
    assert (await check_all(31)).status_code == 422


async def test_operators_see_who_has_a_limit_of_its_own_page_by_page(client):
    own = {"rate": "9/second", "actor": "ann"}
    for number in range(5):
        lasts = {} if number % 2 else {"lasts": 1000 - number}
        url = f"/v1/limits/llm/subjects/org{number}"
        assert (await client.put(url, json=own | lasts)).status_code == 200
    digests = [
        (await client.get(f"/v1/limits/llm/subjects/org{n}")).json()["digest"] for n in range(5)
    ]
    assert (await client.delete("/v1/limits/llm/subjects/org4")).json() == {"had": True}
    shown, after = [], 0
    while after is not None:
        answer = await client.get(f"/v1/limits/llm/subjects?limit=2&after={after}")
        page = answer.json()
        assert len(page["shown"]) <= 2
        shown += page["shown"]
        after = page["after"]
    assert [each["digest"] for each in shown] == [digests[n] for n in (2, 0, 1, 3)]
    assert {(each["rate"], each["burst"], each["actor"]) for each in shown} == {
        ("9 per second", 9, "ann")
    }
    assert [each["until"] is None for each in shown] == [False, False, True, True]
    listed = "/v1/limits/llm/subjects?digest="
    assert (await client.delete(listed + digests[3])).json() == {"had": True}
    assert (await client.delete(listed + digests[3])).json() == {"had": False}
    assert (await client.get("/v1/limits/llm/subjects/org3")).json()["own"] is False
    for wrong in ("", digests[3][:15], "org3"):
        assert (await client.delete(listed + wrong)).status_code == 422
    assert all(abs(each["since"] - time.time()) < 60 for each in shown)
    assert "org" not in answer.text
    assert (await client.get("/v1/limits/none/subjects")).status_code == 404
    assert (await client.get("/v1/limits/llm/subjects?limit=251")).status_code == 422
    client.headers["Authorization"] = f"Bearer {GATEWAY}"
    assert (await client.get("/v1/limits/llm/subjects")).status_code == 403


async def test_a_check_answers_what_is_described(client):
    answer = await client.post("/v1/limits/llm/check", json={"subject": "org/7"})
    assert [*answer.json()] == [*DecisionBody.model_fields]
    assert DecisionBody.model_validate_json(answer.content).model_dump() == answer.json()
