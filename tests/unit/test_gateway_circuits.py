"""Circuits over HTTP, over an in-process state."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.gateways import client_of
from tests.integration.fleet import until

from aragora_redis.circuit.permit import Permit
from aragora_redis.gateway.app import create_app
from aragora_redis.gateway.permits import LONGEST_CALL, Permits
from aragora_redis.gateway.worker import Worker
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState
from aragora_redis.testing import FakeClock, memory_state

GATEWAY, ADMIN = "gateway-token-0001", "admin-token-000001"
POLICIES = """
[circuits.default]
minimum_calls = 2
open_for = "200 ms"
half_open_probes = 1
[circuits.narrow]
max_concurrent = 2
[circuits.patient]
max_concurrent = 1
max_waiting = 5
max_wait = "10 seconds"
"""


@pytest.fixture
def state(tmp_path):
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    env = {
        "ARAGORA_POLICIES": str(policies),
        "ARAGORA_GATEWAY_TOKEN": GATEWAY,
        "ARAGORA_ADMIN_TOKEN": ADMIN,
    }
    return SharedState(from_env(env))


@pytest.fixture
async def client(state):
    async with client_of(state, GATEWAY) as made:
        yield made


async def acquire(client, name="llm"):
    return await client.post(f"/v1/circuits/{name}/acquire")


async def report(client, by, name="llm", **given):
    body = {"permit": by, "ok": True, "duration": 0.01} | given
    return await client.post(f"/v1/circuits/{name}/report", json=body)


async def until_acquire(client, status):
    for _ in range(1000):
        answer = await acquire(client)
        if answer.status_code == status:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(answer)


async def test_one_of_several_workers_bounds_no_calls(state):
    async with client_of(state, GATEWAY, worker=Worker(0, (1, 2), b"key")) as client:
        assert (await acquire(client, "llm")).status_code == 200
        refused = await acquire(client, "narrow")
        assert refused.status_code == 409
        assert "max_concurrent" in refused.json()["remedy"]


async def test_a_circuit_opens_tries_and_closes(client):
    for _ in range(2):
        permit = (await acquire(client)).json()["permit"]
        assert (await report(client, permit, ok=False)).status_code == 204
    refused = await until_acquire(client, 503)
    assert refused.json()["state"] == "open"
    assert 0 < refused.json()["retry_after"] <= 0.24
    assert refused.headers["Retry-After"] == "1"
    trial = (await until_acquire(client, 200)).json()["permit"]
    busy = await acquire(client)
    assert (busy.status_code, busy.json()["state"]) == (503, "half-open")
    assert (await report(client, trial)).status_code == 204
    listed = (await client.get("/v1/circuits")).json()["circuits"]
    assert [(each["name"], each["state"]) for each in listed] == [("llm", "closed")]


async def test_a_late_result_changes_nothing(client):
    permit = (await acquire(client)).json()["permit"]
    force = {"state": "closed", "reason": "known"}
    admin = {"Authorization": f"Bearer {ADMIN}"}
    path = "/v1/circuits/llm/force"
    assert (await client.post(path, json=force)).status_code == 403
    forced = await client.post(path, json=force, headers=admin)
    assert (forced.status_code, forced.json()["state"]) == (200, "forced-closed")
    assert forced.json()["reason"] == "known"
    for _ in range(5):
        await report(client, permit, ok=False)
    assert (await acquire(client)).status_code == 200
    opened = await client.post(path, json={"state": "open"}, headers=admin)
    assert opened.json()["state"] == "forced-open"
    assert (await acquire(client)).json()["state"] == "forced-open"
    await client.post(path, json={"state": "auto"}, headers=admin)
    assert (await acquire(client)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"permit": "garbage"},
        {"permit": "p.1.1.-"},
        {"duration": -1},
        {"duration": "1"},
        {"duration": 1e9},
        {"ok": "yes"},
        {"more": 1},
    ],
)
async def test_garbage_is_refused(client, body):
    permit = (await acquire(client)).json()["permit"]
    answer = await report(client, permit, **body)
    assert answer.status_code == 422
    assert answer.json()["ran"] == "no"


@pytest.mark.parametrize("name", ["a b", "x" * 65, "a%00b", "{x}", "é"])
async def test_a_name_is_one(client, name):
    assert (await acquire(client, name)).status_code == 422


async def test_the_number_of_circuits_is_bounded_but_not_for_who_acts_by_hand(client, monkeypatch):
    # As many as are allowed would take so long that the first are forgotten meanwhile.
    monkeypatch.setattr("aragora_redis.state.circuits.circuits.CIRCUITS", 20)
    answers = [(await acquire(client, f"c{number}")).status_code for number in range(26)]
    assert answers == [200] * 20 + [422] * 6
    forced = await client.post(
        "/v1/circuits/another/force",
        json={"state": "open"},
        headers={"Authorization": f"Bearer {ADMIN}"},
    )
    assert forced.json()["state"] == "forced-open"


async def test_a_permit_counts_once_and_for_its_circuit_only(client):
    permit = (await acquire(client, "one")).json()["permit"]
    for _ in range(20):
        assert (await report(client, permit, "one", ok=False)).status_code == 204
    assert (await acquire(client, "one")).status_code == 200, "one failure opens nothing"
    assert (await report(client, permit, "two", ok=False)).status_code == 422
    forged = permit[:-1] + ("0" if permit[-1] != "0" else "1")
    assert (await report(client, forged, "one", ok=False)).status_code == 422


async def test_a_circuit_shows_who_reported_and_who_forced_it_until_when(client):
    permit = (await acquire(client)).json()["permit"]
    given = (await acquire(client)).json()["permit"]
    for path, body in (
        ("report", {"permit": permit, "ok": False, "duration": 0.1}),
        ("release", {"permit": given}),
        ("release", {"permit": given}),
    ):
        assert (await client.post(f"/v1/circuits/llm/{path}", json=body)).status_code == 204
    shown = (await client.get("/v1/circuits/llm")).json()
    (reporter,) = shown["reporters"]
    assert (reporter["calls"], reporter["failures"], shown["circuit"]["calls"]) == (1, 1, 1)
    admin = {"Authorization": f"Bearer {ADMIN}"}
    force = {"state": "open", "reason": "why", "by": "ann", "lasts": 60}
    forced = (await client.post("/v1/circuits/llm/force", json=force, headers=admin)).json()
    assert (forced["forced_by"], forced["reason"]) == ("ann", "why")
    assert forced["forced_until"] == pytest.approx(forced["forced_at"] + 60, abs=1)
    for wrong in ({"lasts": 0}, {"lasts": 1e12}, {"by": "a\nb"}):
        answer = await client.post("/v1/circuits/llm/force", json=force | wrong, headers=admin)
        assert answer.status_code == 422


async def test_permits_hold_the_places_of_a_bulkhead_until_they_are_back(client):
    permits = [(await acquire(client, "narrow")).json()["permit"] for _ in range(2)]
    full = await acquire(client, "narrow")
    assert (full.status_code, full.json()["type"]) == (503, "urn:aragora-redis:circuit-full")
    assert full.headers["retry-after"] == "1"
    shown = (await client.get("/v1/circuits/narrow")).json()["circuit"]
    assert shown["in_flight"] == 2
    for permit in (permits[0], permits[0]):  # told twice, it is back once
        body = {"permit": permit, "ok": True, "duration": 0}
        await client.post("/v1/circuits/narrow/report", json=body)
    third = await acquire(client, "narrow")
    assert third.status_code == 200
    assert (await acquire(client, "narrow")).status_code == 503
    for permit in (permits[1], third.json()["permit"]):
        await client.post("/v1/circuits/narrow/release", json={"permit": permit})
    admin = {"Authorization": f"Bearer {ADMIN}"}
    force = {"state": "open"}
    await client.post("/v1/circuits/narrow/force", json=force, headers=admin)
    assert (await acquire(client, "narrow")).json()["state"] == "forced-open"
    shown = (await client.get("/v1/circuits/narrow")).json()["circuit"]
    assert (shown["in_flight"], shown["waiting"]) == (0, 0), "a refusal takes no place"


async def test_who_goes_away_while_it_waits_takes_no_place(state):
    app = create_app(state)
    async with app.router.lifespan_context(app):
        held = await state.circuits["patient"].acquire()
        gone, sent = asyncio.Event(), list[Any]()
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/circuits/patient/acquire",
            "raw_path": b"/v1/circuits/patient/acquire",
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"authorization", f"Bearer {GATEWAY}".encode()),
            ],
        }
        bodies = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive():
            if (body := next(bodies, None)) is not None:
                return body
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        asking = asyncio.create_task(app(scope, receive, send))
        await until(lambda: state.circuits["patient"].bulkhead.waiting == 1)
        gone.set()
        await asking
        assert state.circuits["patient"].bulkhead.waiting == 0
        await state.circuits["patient"].release(held)
        assert state.circuits["patient"].bulkhead.in_flight == 0
        assert b"permit" not in b"".join(each.get("body", b"") for each in sent)


async def test_a_place_whose_holder_is_never_heard_of_comes_free(client, monkeypatch):
    monkeypatch.setattr("aragora_redis.state.circuits.circuit.lease_of", lambda _policy: 0.05)
    for _ in range(2):
        assert (await acquire(client, "narrow")).status_code == 200
    while (await acquire(client, "narrow")).status_code == 503:  # noqa: ASYNC110 - a timer frees it
        await asyncio.sleep(0.01)


async def test_a_call_of_minutes_keeps_its_places_while_its_caller_says_so():
    clock = FakeClock()
    async with client_of(memory_state(POLICIES, clock=clock), GATEWAY) as client:
        for _ in range(2):
            await report(client, (await acquire(client)).json()["permit"], ok=False)
        await until_acquire(client, 503)
        clock.advance(0.3)
        trial = (await until_acquire(client, 200)).json()
        place = (await acquire(client, "narrow")).json()
        assert (trial["kept_for"], place["kept_for"]) == (5.0, 5.0)
        await acquire(client, "narrow")  # one that nobody keeps
        for _ in range(10):
            clock.advance(4)
            for name, given in (("llm", trial), ("narrow", place)):
                assert await keep(client, name, given) == (200, {"kept_for": 5.0})
            assert (await acquire(client)).json()["state"] == "half-open"
        asked = [(await acquire(client, "narrow")).status_code for _ in range(2)]
        assert asked == [200, 503], "only what nobody keeps comes free"
        assert (await report(client, trial["permit"], duration=0.2)).status_code == 204
        assert (await client.get("/v1/circuits/llm")).json()["circuit"]["state"] == "closed"
        assert await keep(client, "llm", trial) == (200, {"kept_for": 0.0}), "it has ended"
        clock.advance(6)
        for _ in range(2):
            await acquire(client, "narrow")
        assert await keep(client, "narrow", place) == (200, {"kept_for": 0.0}), "another has it"
        assert (await keep(client, "llm", place))[0] == 422, "it is of another circuit"


async def keep(client, name, given):
    answer = await client.post(f"/v1/circuits/{name}/keep", json={"permit": given["permit"]})
    return answer.status_code, answer.json()


def test_nothing_is_kept_for_ever():
    clock = FakeClock()
    permits = Permits(b"k" * 32, clock)
    sealed = permits.seal("llm", Permit("c", 1, 1))
    clock.advance(LONGEST_CALL - 2)
    assert permits.open_to_keep("llm", sealed) == Permit("c", 1, 1)
    clock.advance(4)
    assert permits.open_to_keep("llm", sealed) is None
    assert permits.open("llm", sealed) == Permit("c", 1, 1), "its result counts"
