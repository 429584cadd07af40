"""Sessions over HTTP, over an in-process state."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateways import client_of

from aragora_redis.errors import LinkDownError
from aragora_redis.gateway.sessions import _body_of
from aragora_redis.sessions.ids import handle_of
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

GATEWAY, ADMIN = "gateway-token-0001", "admin-token-000001"
AS_GATEWAY = {"Authorization": f"Bearer {GATEWAY}"}
POLICIES = """
[sessions]
max_per_user = 2
on_full = "refuse"
max_bytes = 100000
"""


@pytest.fixture
def state(tmp_path):
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    return SharedState(
        from_env(
            {
                "ARAGORA_POLICIES": str(policies),
                "ARAGORA_GATEWAY_TOKEN": GATEWAY,
                "ARAGORA_ADMIN_TOKEN": ADMIN,
            }
        )
    )


@pytest.fixture
async def client(state):
    async with client_of(state, ADMIN) as made:
        yield made


async def test_no_session_id_is_shown(state):
    state.life.begin()
    made = await state.sessions.create("42")
    told = _body_of(state.sessions, made)
    presented = state.sessions.witness.read(told.cookie)
    shown = f"{made!r} {told!r} {told} {presented!r}"
    assert "SessionBody()" in shown
    assert made.id not in shown
    assert presented.session_id == made.id


async def create(client, **body):
    answer = await client.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_session_lives_changes_and_ends(client):
    made = await create(client, user="42", data={"theme": "dark"})
    path = f"/v1/sessions/{made['id']}"
    read = (await client.get(path)).json()
    assert (read["user"], read["data"]) == ("42", {"theme": "dark"})
    assert read["version"] == made["version"]
    changed = await client.patch(
        path, json={"version": read["version"], "set": {"cart": [1, None]}, "unset": ["theme"]}
    )
    assert (changed.status_code, changed.json()["data"]) == (200, {"cart": [1, None]})
    assert changed.json()["version"] > read["version"]
    assert (await client.delete(path)).status_code == 204
    for gone in (
        await client.get(path),
        await client.delete(path),
        await client.patch(path, json={"version": changed.json()["version"], "set": {"a": 1}}),
        await client.post(f"{path}/rotate"),
    ):
        assert gone.status_code == 404
        assert gone.json()["ran"] == "no"
        assert made["id"] not in gone.text


async def test_one_of_two_changes_of_a_field_is_a_conflict(client):
    made = await create(client, data={"a": 0, "b": 0})
    path, version = f"/v1/sessions/{made['id']}", made["version"]
    one = await client.patch(path, json={"version": version, "set": {"a": 1}})
    two = await client.patch(path, json={"version": version, "set": {"a": 2}})
    three = await client.patch(path, json={"version": version, "set": {"b": 3}})
    four = await client.patch(path, json={"version": version, "set": {"c": 4}, "exact": True})
    assert [each.status_code for each in (one, two, three, four)] == [200, 409, 200, 409]
    assert three.json()["data"] == {"a": 1, "b": 3}
    problem = two.json()
    assert (problem["type"], problem["ran"]) == ("urn:aragora-redis:session-conflict", "no")


async def test_rotation_and_login(client):
    made = await create(client, data={"cart": [7]})
    rotated = (await client.post(f"/v1/sessions/{made['id']}/rotate")).json()
    assert rotated["id"] != made["id"]
    under_way = (await client.get(f"/v1/sessions/{made['id']}")).json()
    assert (under_way["id"], under_way["data"]) == (None, {"cart": [7]})
    login = await client.post(f"/v1/sessions/{rotated['id']}/rotate", json={"user": "42"})
    user = login.json()
    assert (login.status_code, user["user"], user["data"]) == (200, "42", {"cart": [7]})
    for old in (made, rotated):
        assert (await client.get(f"/v1/sessions/{old['id']}")).status_code == 404
    other = await client.post(f"/v1/sessions/{user['id']}/rotate", json={"user": "43"})
    assert other.status_code == 422
    again = await client.post(f"/v1/sessions/{user['id']}/rotate", json={"user": "42"})
    assert again.json()["user"] == "42"
    assert (await client.get(f"/v1/sessions/{user['id']}")).status_code == 404, "a login too"


async def test_the_id_may_come_in_a_header_or_in_the_body(client):
    made = await create(client, user="42")
    header = {"X-Session-Id": made["id"]}
    assert (await client.get("/v1/sessions", headers=header)).json()["user"] == "42"
    body = {"version": made["version"], "set": {"a": 1}}
    changed = await client.patch("/v1/sessions", json=body | {"id": made["id"]})
    assert changed.json()["data"] == {"a": 1}
    rotated = (await client.post("/v1/sessions/rotate", json={"id": made["id"]})).json()
    both = await client.get(f"/v1/sessions/{rotated['id']}", headers=header)
    assert both.status_code == 422
    assert (await client.get("/v1/sessions")).status_code == 422
    header = {"X-Session-Id": rotated["id"]}
    assert (await client.delete("/v1/sessions", headers=header)).status_code == 204
    assert (await client.get("/v1/sessions", headers=header)).status_code == 404


async def test_by_user(client):
    user = "org/42 é"
    path = f"/v1/users/{user}/sessions"
    made = [await create(client, user=user) for _ in range(2)]
    listed = (await client.get(path)).json()["sessions"]
    assert len(listed) == 2
    assert not {each["handle"] for each in listed} & {each["id"] for each in made}
    full = await client.post("/v1/sessions", json={"user": user})
    assert full.status_code == 409
    ended = await client.delete(path)
    assert (ended.status_code, ended.json()) == (200, {"ended": 2, "level": "local"})
    assert (await client.get(path)).json() == {"sessions": []}
    assert (await client.get(f"/v1/sessions/{made[0]['id']}")).status_code == 404


async def test_ending_needs_the_admin_token(client):
    made = await create(client, user="42")
    assert (await client.get(f"/v1/sessions/{made['id']}", headers=AS_GATEWAY)).status_code == 200
    for path in (f"/v1/sessions/{made['id']}", "/v1/sessions", "/v1/users/42/sessions"):
        assert (await client.delete(path, headers=AS_GATEWAY)).status_code == 403
    assert (await client.get(f"/v1/sessions/{made['id']}", headers={"Authorization": "x"})
            ).status_code == 401  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        '{"data": []}',
        '{"user": ""}',
        '{"user": 42}',
        '{"user": "a\\u0000b"}',
        '{"data": {"a": NaN}}',
        '{"data": {"a": 1e999}}',
        '{"data": {"a": 123456789012345678901234567890}}',
        '{"data": {"a": "\\ud800"}}',
        '{"data": {"' + "n" * 300 + '": 1}}',
        '{"data": {"a": ' + "[" * 40 + "]" * 40 + "}}",
        '{"data": {"a": "' + "x" * 100_001 + '"}}',
        '{"dat": {}}',
        "{",
        "",
    ],
)
async def test_what_cannot_be_kept_is_refused_and_named(client, body):
    answer = await client.post(
        "/v1/sessions", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": "1"},
        {"version": -1},
        {"version": 2**53},
        {"version": 1, "set": []},
        {"version": 1, "unset": "a"},
        {"version": 1, "set": {"a": 1}, "unset": ["a"]},
        {"version": 1, "unset": [1]},
        {"version": 1, "more": 1},
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(client, body):
    made = await create(client, data={"a": 0})
    path = f"/v1/sessions/{made['id']}"
    assert (await client.patch(path, json=body)).status_code == 422
    assert (await client.get(path)).json() == made


async def test_a_session_may_hold_what_the_policy_allows(client):
    held = {"text": "é" * 49_000}
    made = await create(client, data=held)
    assert made["data"] == held
    answer = await client.post("/v1/sessions", content=b"x" * 400_000)
    assert answer.status_code == 413


async def test_what_the_policy_comes_to_allow_is_let_in_at_once(client, state):
    larger = msgspec.structs.replace(state.policies.sessions, max_bytes=1_000_000)
    state.use_policies(msgspec.structs.replace(state.policies, sessions=larger))
    made = await create(client, data={"text": "x" * 400_000})
    assert len(made["data"]["text"]) == 400_000


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(session_id=st.text(max_size=60) | st.text("AB-_=abc012", min_size=44, max_size=48))
async def test_no_made_up_id_opens_anything(client, session_id):
    answer = await client.get("/v1/sessions", headers={b"X-Session-Id": session_id.encode()})
    assert answer.status_code in {404, 422}
    other = await client.get("/v1/sessions", headers={"X-Session-Id": "x" * 46})
    if answer.status_code == other.status_code:
        assert answer.json() == other.json(), "it says nothing of the id"


async def test_a_session_is_ended_by_an_id_in_the_body_and_not_in_the_query(client):
    made = await create(client)
    query = await client.get("/v1/sessions", params={"session_id": made["id"]})
    assert query.status_code == 422
    ended = await client.request("DELETE", "/v1/sessions", json={"id": made["id"]})
    assert ended.status_code == 204
    assert (await client.get(f"/v1/sessions/{made['id']}")).status_code == 404


async def test_an_id_of_the_right_form_is_not_adopted(client):
    made = await create(client)
    made_up = made["id"][:-4] + ("AAAA" if not made["id"].endswith("AAAA") else "BBBA")
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = await client.request(method, f"/v1/sessions/{made_up}{rest}")
        assert answer.status_code == 404
    patch = {"version": made["version"], "set": {"a": 1}}
    assert (await client.patch(f"/v1/sessions/{made_up}", json=patch)).status_code == 404
    assert (await client.get(f"/v1/sessions/{made_up}")).status_code == 404


async def test_an_entity_tag_is_the_version_that_was_read(client):
    made = await client.post("/v1/sessions", json={"user": "tagged", "device": "d"})
    tag, named = made.headers["etag"], {"X-Session-Id": made.json()["id"]}
    changed = await client.patch(
        "/v1/sessions", json={"set": {"a": 1}}, headers=named | {"If-Match": tag}
    )
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    stale = await client.patch(
        "/v1/sessions", json={"set": {"b": 1}}, headers=named | {"If-Match": tag}
    )
    assert (stale.status_code, stale.json()["ran"]) == (412, "no")
    for wrong in ({}, {"If-Match": "*"}, {"If-Match": "W/" + tag}):
        answer = await client.patch("/v1/sessions", json={"set": {}}, headers=named | wrong)
        assert answer.status_code == 422
    read = await client.get("/v1/sessions", headers=named)
    assert read.headers["etag"] == changed.headers["etag"]
    listed = (await client.get("/v1/users/tagged/sessions")).json()["sessions"]
    assert [(each["device"], each["handle"]) for each in listed] == [("d", read.json()["handle"])]


async def test_a_store_older_than_what_was_seen_has_no_session(client, state):
    made, other = await create(client, user="seen"), await create(client, user="seen")
    named = {"X-Session-Id": made["id"]}
    seen = {"X-Session-Seen": made["cookie"]}
    assert (await client.get("/v1/sessions", headers=named | seen)).status_code == 200
    for made_up in (str(2**53 - 1), f"{made['id']}.{2**53 - 1}.{'A' * 22}", other["cookie"]):
        headers = named | {"X-Session-Seen": made_up}
        assert (await client.get("/v1/sessions", headers=headers)).status_code == 422
    assert (await client.get("/v1/sessions", headers=named)).status_code == 200, (
        "no forgery ends it"
    )
    later = {"X-Session-Seen": state.sessions.witness.cookie(made["id"], made["version"] + 1)}
    assert (await client.get("/v1/sessions", headers=named | later)).status_code == 404
    assert (await client.get("/v1/sessions", headers=named)).status_code == 404, "it has ended"


async def test_of_an_end_that_is_only_held_nobody_says_how_many(client, state):
    made = await create(client, user="42")
    state._executor.outage = LinkDownError("Redis is away")
    for handle in (made["handle"], handle_of(bytes(16))):
        ended = await client.delete(f"/v1/users/42/sessions/{handle}")
        assert ended.json() == {"ended": None, "level": "local"}


async def test_sessions_end_by_handle_all_but_one_and_for_everybody(client):
    made = [await create(client, user="a/b") for _ in range(2)]
    path = "/v1/users/a%2Fb/sessions"
    ended = await client.delete(f"{path}?keep={made[1]['handle']}")
    assert ended.json()["ended"] == 1
    assert (await client.delete(f"{path}/{made[0]['handle']}")).status_code == 404
    assert (await client.delete(f"{path}/{made[1]['handle']}")).json()["ended"] == 1
    other = await create(client)
    body = {"confirm": "everybody"}
    refused = await client.post("/v1/sessions/end-all", json=body, headers=AS_GATEWAY)
    assert refused.status_code == 403
    assert (await client.post("/v1/sessions/end-all", json={})).status_code == 422
    ended = await client.post("/v1/sessions/end-all", json=body)
    assert (ended.status_code, ended.json()) == (200, {"level": "local"}), "there is no Redis"
    named = {"X-Session-Id": other["id"]}
    assert (await client.get("/v1/sessions", headers=named)).status_code == 404
