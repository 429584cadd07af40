"""Who did what over HTTP: which acts are recorded, who is told, and who may read it."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from tests.gateways import client_of

from aragora_redis.audit.act import Act
from aragora_redis.events import Acted
from aragora_redis.gateway.dashboard.desk import Action, Desk, Verb
from aragora_redis.gateway.dashboard.journal import Journal
from aragora_redis.gateway.dashboard.worktop import Worktop
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState
from aragora_redis.testing import FakeClock

GATEWAY, ADMIN = "gateway-token-0001", "admin-token-000001"
ENV = {
    "ARAGORA_GATEWAY_TOKEN": GATEWAY,
    "ARAGORA_ADMIN_TOKEN": ADMIN,
    "ARAGORA_PARDON_KEY": "a-key-for-pardons-of-some-length",
    "ARAGORA_INSTANCE_ID": "gw-1",
}
POLICIES = '[limits.api]\nrate = "1 per hour"\n'
OWN = "/v1/limits/api/subjects/user:mallory"
SECRETS = ("mallory", "jti-in-clear", "acme", "login-7")


@pytest.fixture
async def open_client(tmp_path):
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    async with AsyncExitStack() as opened:

        async def make(token=ADMIN, **env):
            state = SharedState(from_env({"ARAGORA_POLICIES": str(policies)} | env))
            return await opened.enter_async_context(client_of(state, token))

        yield make


@pytest.fixture
async def client(open_client):
    return await open_client(**ENV)


async def told(client, **query):
    answer = await client.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["acts"]


async def do(client, method, path, body=None, **query):
    answer = await client.request(method, path, json=body, params=query)
    assert answer.status_code < 300, answer.text
    return answer


WIDE = [
    ("POST", "/v1/tokens/revoke", {"user": "mallory"}, "tokens revoke", "user "),
    ("POST", "/v1/tokens/revoke", {"tenant": "acme", "users": 3}, "tokens revoke", "tenant "),
    ("POST", "/v1/tokens/revoke", {"family": "login-7"}, "tokens revoke", "family "),
    ("POST", "/v1/sessions/end-all", {"confirm": "everybody"}, "sessions end", "sessions of every"),
    ("POST", "/v1/limits/api/reset", {"subject": "mallory"}, "limits reset", "api "),
    ("PUT", OWN, {"rate": "5 per hour"}, "limits set", "api "),
    ("POST", "/v1/circuits/llm/force", {"state": "open"}, "circuits force open", "llm"),
    ("DELETE", "/v1/users/mallory/sessions", None, "sessions end", "sessions of user "),
    ("DELETE", OWN, None, "limits unset", "api "),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "action", "target"), WIDE, ids=lambda each: str(each)[:30]
)
async def test_i8_what_reaches_wide_is_recorded_whoever_does_it(
    client, method, path, body, action, target
):
    await do(client, method, path, body)
    # Who is named stands where nobody was before: in the body, or in the query where there is none.
    who = "by" if "circuits" in path else "actor"
    signed = {who: "ann", "reason": "asked for"}
    if body is None:
        await do(client, method, path, **signed)
    else:
        await do(client, method, path, body | signed)
    named, unnamed = await told(client)
    assert [each["actor"] for each in (named, unnamed)] == ["ann", "admin token"]
    assert (named["reason"].endswith("asked for"), named["via"]) == (True, "http")
    assert (named["instance"], named["action"]) == ("gw-1", action)
    assert named["target"].startswith(target)
    assert named["target"] == unnamed["target"]
    assert abs(named["at"] - time.time()) < 60
    assert not [secret for secret in SECRETS if secret in str((named, unnamed))]


async def test_a_pardon_and_an_import_are_recorded(client):
    await do(client, "POST", "/v1/tokens/revoke", {"user": "mallory"})
    await do(client, "POST", "/v1/tokens/pardon", {"user": "mallory"})
    exported = await client.get("/v1/tokens/export")
    loaded = await client.post(
        "/v1/tokens/import", content=exported.content, params={"actor": "bob", "reason": "moved"}
    )
    assert loaded.status_code == 200
    acts = await told(client)
    assert [(each["actor"], each["action"], each["reason"]) for each in acts] == [
        ("bob", "tokens import", "moved"),
        ("admin token", "tokens pardon", ""),
        ("admin token", "tokens revoke", ""),
    ]
    assert acts[1]["target"] == acts[2]["target"]


async def test_an_everyday_logout_leaves_no_record_and_one_by_hand_does(client):
    token = {"jti": "jti-in-clear", "expires_at": time.time() + 600}
    await do(client, "POST", "/v1/tokens/revoke", token | {"reason": "logout"})
    made = [await do(client, "POST", "/v1/sessions", {"user": "mallory"}) for _ in range(4)]
    ids = [each.json()["id"] for each in made]
    listed = (await client.get("/v1/users/mallory/sessions")).json()["sessions"]
    await do(client, "DELETE", f"/v1/sessions/{ids[0]}")
    await do(client, "DELETE", f"/v1/users/mallory/sessions/{listed[1]['handle']}")
    assert await told(client) == []

    await do(client, "POST", "/v1/tokens/revoke", token | {"reason": "stolen", "actor": "ann"})
    await do(client, "DELETE", f"/v1/sessions/{ids[2]}", actor="ann")
    await do(client, "DELETE", f"/v1/users/mallory/sessions/{listed[3]['handle']}", actor="ann")
    acts = await told(client, actor="ann")
    assert [each["target"].partition(" ")[0] for each in acts] == ["session", "session", "jti"]
    assert not [secret for secret in (*SECRETS, *ids) if secret in str(acts)]


async def test_what_was_refused_is_no_act(client):
    refused = await client.post("/v1/limits/nothing/reset", json={"subject": "x"})
    assert refused.status_code == 404
    wrong = ({"actor": "\x1b[2J"}, {"actor": "x" * 101}, {"actor": 7}, {"whoever": "x"})
    for body in (*wrong, {"actor": "\ud800"}, {"actor": "ann", "reason": "\ud800"}):
        content = json.dumps({"user": "mallory"} | body)
        headers = {"Content-Type": "application/json"}
        refused = await client.post("/v1/tokens/revoke", content=content, headers=headers)
        assert refused.status_code == 422
    refused = await client.delete(OWN, params={"actor": "a\nb"})
    assert refused.status_code == 422
    assert await told(client) == []


async def test_the_record_is_read_in_pages_by_whoever_may(client):
    for number in range(5):
        await do(client, "POST", f"/v1/circuits/c{number}/force", {"state": "open"})
    first = (await client.get("/v1/audit", params={"limit": 3})).json()
    query = {"limit": 3, "before": first["older"]}
    second = (await client.get("/v1/audit", params=query)).json()
    targets = [each["target"] for each in (*first["acts"], *second["acts"])]
    assert targets == ["c4", "c3", "c2", "c1", "c0"]
    assert second["older"] is None
    assert [each["target"] for each in await told(client, target="c3")] == ["c3"]

    for wrong in ({"limit": 0}, {"limit": 1001}, {"before": "yesterday"}, {"before": "1-1)"}):
        assert (await client.get("/v1/audit", params=wrong)).status_code == 422
    headers = {"Authorization": f"Bearer {GATEWAY}"}
    assert (await client.get("/v1/audit", headers=headers)).status_code == 403
    headers = {"Authorization": "Bearer wrong"}
    assert (await client.get("/v1/audit", headers=headers)).status_code == 401


async def test_without_tokens_nobody_has_proved_anything(open_client):
    client = await open_client(token=None)
    await do(client, "POST", "/v1/circuits/llm/force", {"state": "open"})
    assert [each["actor"] for each in await told(client)] == ["no token"]


async def test_the_levers_of_the_dashboard_are_recorded():
    class Lab:
        def kill(self, target):
            return (target,)

    noted: list[Act] = []
    lab, clock = cast("Any", Lab()), FakeClock()
    journal = Journal(clock)
    desk = Desk(
        lab,
        Worktop(journal),
        clock,
        note=noted.append,
        operator="admin token",
        changed=lambda: None,
    )
    await desk.act(Action(Verb.KILL, "redis-0"))
    (act,) = noted
    assert (act.actor, act.action, act.target) == ("admin token", "lab kill", "redis-0")
    assert (act.outcome, act.via) == ("done", "dashboard")
    journal.see(Acted("admin token", "lab kill", "redis-0", "done", "dashboard"))
    journal.see(Acted("ann", "limits reset", "api 0011", "filled", "http"))
    assert [entry.text for entry in journal.entries] == [
        "by hand: limits reset api 0011, by ann: filled",
        "by hand: killed redis-0",
    ]
