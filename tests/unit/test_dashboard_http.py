"""The dashboard over HTTP, over an in-process state: who gets in, and what forms must prove."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack

import pytest
from tests.gateways import client_of

from aragora_redis.errors import NotReadyError, OutcomeUnknownError
from aragora_redis.gateway.dashboard.logins import COOKIE
from aragora_redis.gateway.dashboard.throttle import AT_ONCE
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

GATEWAY, ADMIN = "gateway-token-0001", "admin-token-000001"
TOKENS = {"ARAGORA_GATEWAY_TOKEN": GATEWAY, "ARAGORA_ADMIN_TOKEN": ADMIN}


@pytest.fixture
async def open_board():
    """Makes a client of a gateway with the environment given."""
    async with AsyncExitStack() as opened:

        async def make(**env):
            state = SharedState(from_env(env))
            return await opened.enter_async_context(client_of(state))

        yield make


@pytest.fixture
async def client(open_board):
    return await open_board(**TOKENS)


@pytest.fixture
async def board():
    """A gateway's client, and its state."""
    state = SharedState(from_env(TOKENS))
    async with client_of(state) as made:
        yield made, state


async def log_in(client, token=ADMIN):
    return await client.post("/dashboard/login", data={"token": token})


async def csrf_of(client):
    page = (await client.get("/dashboard")).text
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found
    return found[1]


async def test_a_stranger_is_sent_to_the_login(client):
    answer = await client.get("/dashboard")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/login")
    assert (await client.get("/dashboard/events")).status_code == 401
    form = (await client.get("/dashboard/login")).text
    assert '<label for="token">' in form


@pytest.mark.parametrize("token", [ADMIN, GATEWAY])
async def test_a_token_lets_in_and_is_never_shown(client, token):
    answer = await log_in(client, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    cookie = answer.headers["set-cookie"]
    assert all(flag in cookie for flag in ("HttpOnly", "SameSite=strict", "Path=/dashboard"))
    page = await client.get("/dashboard")
    assert page.status_code == 200
    assert "Embedded" in page.text
    assert token not in page.text + cookie
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert " on" not in "".join(re.findall(r"<[a-z]+[^>]*?( on[a-z]+=)", page.text))


async def test_wrong_tokens_are_slowed_down(client):
    for _ in range(AT_ONCE):
        answer = await log_in(client, "guess")
        assert answer.status_code == 403
        assert "guess" not in answer.text
    slowed = await log_in(client)
    assert slowed.status_code == 429, "also with the right one: it is the client that waits"
    assert int(slowed.headers["retry-after"]) > 0


async def test_behind_a_proxy_each_client_waits_for_itself(client):
    async def enter(address, token=ADMIN):
        said = {"X-Forwarded-For": f"192.0.2.1, {address}"}
        answer = await client.post("/dashboard/login", data={"token": token}, headers=said)
        return answer.status_code

    for _ in range(AT_ONCE):
        assert await enter("198.51.100.7", "guess") == 403
    assert await enter("198.51.100.7") == 429
    assert await enter("203.0.113.1") == 303


async def test_a_form_must_prove_that_its_page_was_shown(client):
    await log_in(client)
    for csrf in ("", "0" * 64):
        answer = await client.post("/dashboard/logout", data={"csrf": csrf})
        assert answer.status_code == 403
    assert (await client.get("/dashboard")).status_code == 200
    foreign = {"Origin": "https://evil.example"}
    right = {"csrf": await csrf_of(client)}
    assert (await client.post("/dashboard/logout", data=right, headers=foreign)).status_code == 403


async def test_a_logout_ends_the_login_itself(client):
    await log_in(client)
    kept = client.cookies[COOKIE]
    left = await client.post("/dashboard/logout", data={"csrf": await csrf_of(client)})
    assert left.headers["location"] == "/dashboard/login"
    again = await client.get("/dashboard", headers={"Cookie": f"{COOKIE}={kept}"})
    assert again.status_code == 303


async def test_who_may_have_logged_out_looks_and_does_not_act(board, monkeypatch):
    """A gateway that is not ready, or stale, cannot tell; a login may have been copied before."""
    client, state = board
    await log_in(client)
    form = {"csrf": await csrf_of(client), "act": "circuit open llm", "lasts": "600"}

    def unknown(_claims):
        raise NotReadyError("not loaded")

    with monkeypatch.context() as patch:
        patch.setattr(type(state.tokens), "is_revoked", lambda _self, claims: unknown(claims))
        assert (await client.get("/dashboard")).status_code == 200
        for path in ("do", "ask"):
            answer = await client.post(f"/dashboard/{path}", data=form)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await state.circuits.look("llm")).state == "closed"
    assert (await client.post("/dashboard/do", data=form)).status_code == 200


async def test_an_act_of_which_nobody_knows_is_not_called_undone(board, monkeypatch):
    client, state = board
    await log_in(client)
    form = {"csrf": await csrf_of(client), "act": "circuit open llm", "lasts": "600"}

    async def unknown(*_given, **_more):
        raise OutcomeUnknownError("the answer was lost")

    monkeypatch.setattr(type(state.circuits), "force", unknown)
    answer = await client.post("/dashboard/do", data=form)
    assert "Nobody knows whether it was done" in answer.text
    assert "It was not done" not in answer.text


@pytest.mark.parametrize("cookie", ["x", "1.2.3", "9999999999.a.b", "." * 300, "é"])
async def test_a_forged_cookie_is_none(client, cookie):
    headers = {b"Cookie": f"{COOKIE}={cookie}".encode()}
    assert (await client.get("/dashboard", headers=headers)).status_code == 303
    assert (await client.get("/dashboard/events", headers=headers)).status_code == 401


async def test_without_a_lab_there_are_no_levers(client):
    await log_in(client)
    assert (await client.post("/dashboard/lab", data={"lever": "kill primary"})).status_code == 404
    assert 'name="lever"' not in (await client.get("/dashboard")).text


async def wish(client, path, **form):
    return await client.post(f"/dashboard/{path}", data={"csrf": await csrf_of(client)} | form)


async def test_an_act_asks_first_and_is_recorded(client):
    await log_in(client)
    asked = await wish(client, "ask", act="circuit open llm", lasts="600")
    for told in ("Hold circuit llm open?", "What happens", "10 minutes", "Can it be undone"):
        assert told in asked.text
    assert "circuit llm" not in (await client.get("/dashboard")).text, "nothing was done yet"
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    done = await client.post("/dashboard/do", data=fields | {"reason": "a drill"})
    assert "Circuit llm is forced-open." in done.text
    page = (await client.get("/dashboard")).text
    assert "by hand: circuits force open llm, by admin token: forced-open" in page
    assert "a drill" in page


async def test_the_record_is_for_the_admin_alone(board):
    client, state = board
    await state.circuits.force("llm", "open", reason="a drill", actor="ann")
    await log_in(client, GATEWAY)
    page = (await client.get("/dashboard")).text
    assert "Events" in page
    assert "by hand" not in page
    await log_in(client)
    assert "by hand: circuits force open llm, by ann" in (await client.get("/dashboard")).text


async def test_what_is_done_here_is_recorded_as_done_here(client):
    await log_in(client)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    for form in (
        {"act": "revoke", "kind": "user", "who": "ann"},
        {"act": "revoke", "kind": "jti", "who": "one", "days": "1"},
        {"act": "circuit open llm"},
        {"act": "end-sessions", "who": "ann"},
    ):
        assert (await wish(client, "do", reason="a drill", **form)).status_code == 200
    await client.post("/v1/circuits/llm/force", json={"state": "auto"}, headers=headers)
    acts = (await client.get("/v1/audit", headers=headers)).json()["acts"]
    assert [act["via"] for act in acts] == ["http"] + ["dashboard"] * 4


async def test_sessions_and_tokens_are_ended_by_hand(client):
    await log_in(client)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    made = await client.post("/v1/sessions", json={"user": "ann"}, headers=headers)
    found = await wish(client, "ask", act="sessions", who="ann")
    assert "This user has 1 session" in found.text
    (handle,) = re.findall(r'value="end-session ([^"]+)"', found.text)
    asked = await wish(client, "ask", act=f"end-session {handle}", who="ann")
    assert "End this session?" in asked.text
    ended = await wish(client, "do", act=f"end-session {handle}", who="ann", reason="lost")
    assert "1 ended" in ended.text
    gone = await client.get(f"/v1/sessions/{made.json()['id']}", headers=headers)
    assert gone.status_code == 404

    asked = await wish(client, "ask", act="revoke", kind="user", who="ann")
    assert "no pardon key is set" in asked.text
    await wish(client, "do", act="revoke", kind="user", who="ann")
    page = (await client.get("/dashboard")).text
    assert "by hand: tokens revoke user" in page
    assert "ann" not in re.sub(r"annou?nce\w*", "", page)


NO_ACTS = {
    "no circuit": {"act": "circuit open"},
    "no state": {"act": "circuit explode llm"},
    "no time": {"act": "circuit open llm", "lasts": "1e9"},
    "no name": {"act": "circuit open ../x"},
    "nobody": {"act": "revoke", "kind": "user", "who": " "},
    "no kind": {"act": "revoke", "kind": "tenant", "who": "t"},
    "no days": {"act": "revoke", "kind": "jti", "who": "j", "days": "0"},
    "no user": {"act": "end-session nothing", "who": ""},
    "no act": {"act": "explode"},
    "too long": {"act": "revoke", "kind": "user", "who": "a" * 2000},
    "nothing": {},
}


async def test_what_is_no_act_is_told_so_and_not_done(client):
    await log_in(client)
    for case, form in NO_ACTS.items():
        for path in ("ask", "do"):
            assert (await wish(client, path, **form)).status_code in {400, 422}, case
    assert "by hand" not in (await client.get("/dashboard")).text


async def test_without_a_script_the_page_reloads_unless_somebody_types(client):
    await log_in(client)
    assert 'http-equiv="refresh"' in (await client.get("/dashboard")).text
    assert 'http-equiv="refresh"' not in (await client.get("/dashboard?still")).text


async def test_an_act_needs_its_page_and_the_admin(client):
    await log_in(client)
    form = {"act": "circuit open llm", "state": "open"}
    for path in ("ask", "do"):
        assert (await client.post(f"/dashboard/{path}", data=form)).status_code == 403
    await log_in(client, GATEWAY)
    page = (await client.get("/dashboard")).text
    assert 'name="act"' not in page
    for path in ("ask", "do"):
        assert (await wish(client, path, **form)).status_code == 403
    client.cookies.clear()
    for path in ("ask", "do"):
        answer = await client.post(f"/dashboard/{path}", data=form)
        assert answer.headers["location"] == "/dashboard/login"
    assert (await client.get("/dashboard/figures")).status_code == 401


async def test_nobody_hands_over_without_a_redis(client):
    await log_in(client)
    answer = await wish(client, "ask", act="switchover")
    assert "there is no Redis" in answer.text


async def test_without_tokens_everybody_on_this_machine_looks(open_board):
    client = await open_board()
    for _ in range(2):  # a browser that follows a link of another site keeps the cookie back
        client.cookies.clear()
        answer = await client.get("/dashboard")
        assert answer.status_code == 200
        assert COOKIE in answer.cookies
    (csrf,) = set(re.findall(r'name="csrf" value="([0-9a-f]+)"', answer.text))
    assert (await client.post("/dashboard/logout", data={"csrf": csrf})).status_code == 303


async def test_style_and_script_are_served_for_ever_under_names_of_their_content(client):
    page = (await client.get("/dashboard/login")).text
    (style,) = re.findall(r'href="(/dashboard/static/[^"]+)"', page)
    answer = await client.get(style)
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert (await client.get("/dashboard/static/other.css")).status_code == 404


async def test_a_hostile_name_is_text(open_board):
    client = await open_board(**TOKENS, ARAGORA_INSTANCE_ID="a.b:c-d")
    await log_in(client)
    await client.post(
        "/v1/circuits/llm/force",
        json={"state": "open", "reason": "<script>alert(1)</script>"},
        headers={"Authorization": f"Bearer {ADMIN}"},
    )
    page = (await client.get("/dashboard")).text
    assert "circuit llm is forced-open" in page
    assert "<script>alert" not in page
