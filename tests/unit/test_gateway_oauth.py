"""`/oauth`, held to the sections of RFC 7009 and RFC 7662."""

from __future__ import annotations

import base64
import time

import jwt
import pytest
import pytest_asyncio
from tests.gateways import client_of

from aragora_redis.errors import KeysUnavailableError, NotReadyError, StaleError
from aragora_redis.settings import GatewaySettings, JwtSettings, Secret, Settings
from aragora_redis.state.revocations.receipt import Level, Receipt
from aragora_redis.testing import memory_state

GATEWAY, ADMIN, KEY = "gateway-token/%:01", "admin-token-000001", "k" * 64
REVOKE, INTROSPECT = "/oauth/revoke", "/oauth/introspect"
SETTINGS = Settings(
    jwt=JwtSettings(Secret(KEY)),
    gateway=GatewaySettings(gateway_tokens=(Secret(GATEWAY),), admin_tokens=(Secret(ADMIN),)),
)


@pytest.fixture
def state():
    return memory_state(settings=SETTINGS)


@pytest.fixture
async def client(state):
    async with client_of(state, ADMIN) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def common_client():
    """For requests that are refused: to make an application takes longer than to ask it."""
    async with client_of(memory_state(settings=SETTINGS), ADMIN) as client:
        yield client


def token(**claims):
    known = {"jti": "t1", "sub": "42", "iat": int(time.time()), "exp": int(time.time()) + 60}
    return jwt.encode(known | claims, KEY)


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def refused(answer, status, error):
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store"
    return answer


async def active(client, text):
    answer = await client.post(INTROSPECT, data={"token": text})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    if not answer.json()["active"]:
        assert answer.json() == {"active": False}
    return answer.json()["active"]


# --- RFC 7009 ---------------------------------------------------------------------------


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "something"])
async def test_rfc7009_section_2_1_the_hint_is_taken_and_changes_nothing(client, hint):
    form = {"token": token()} | ({"token_type_hint": hint} if hint else {})
    assert await active(client, form["token"])
    answer = await client.post(REVOKE, data=form)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert not await active(client, form["token"])
    assert await active(client, token(jti="t2"))


async def test_rfc7009_section_2_1_a_refresh_token_takes_its_access_tokens_along(client, state):
    first = state.refresh_tokens.begin("42")
    access = token(sid=first["sid"])
    refresh = jwt.encode(first, KEY)
    assert await active(client, access)
    assert await active(client, refresh)
    assert (await client.post(REVOKE, data={"token": refresh})).status_code == 200
    assert not await active(client, access)
    assert not await active(client, refresh)


@pytest.mark.parametrize(
    "text",
    ["garbage", "a.b.c", jwt.encode({"jti": "a"}, "x" * 64), token(exp=5), token(sub=5), "é" * 9],
)
async def test_rfc7009_section_2_2_what_is_no_token_is_no_error(client, state, text):
    answer = await client.post(REVOKE, data={"token": text})
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(state.tokens) == 0


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"", True),
        (b"token=", True),
        (b"token_type_hint=access_token", True),
        (b"token=a&token=b", True),
        (b"token=%ff", True),
        (b"\xff", True),
        (b"&".join(b"a%d=b" % i for i in range(50)), True),
        (b'{"token": "a"}', False),
    ],
)
@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
@pytest.mark.asyncio(loop_scope="module")
async def test_rfc7009_section_2_2_1_a_request_that_is_no_form(common_client, path, body, form):
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    answer = await common_client.post(path, content=body, headers={"Content-Type": kind})
    refused(answer, 400, "invalid_request")


async def test_rfc7009_section_2_2_1_a_type_that_is_not_supported():
    async with client_of(memory_state()) as open_client:
        answer = await open_client.post(REVOKE, data={"token": "a"})
        assert "ARAGORA_JWT_SECRET" in refused(answer, 400, "unsupported_token_type").text
        refused(await open_client.post(INTROSPECT, data={"token": "a"}), 503, "server_error")


async def test_rfc7009_section_2_2_1_who_cannot_do_it_says_so(client, state, monkeypatch):
    async def here_alone(*_, **__):
        return Receipt(Level.LOCAL, Level.REPLICATED)

    monkeypatch.setattr(state.tokens, "revoke", here_alone)
    answer = await client.post(REVOKE, data={"token": token()})
    assert refused(answer, 503, "temporarily_unavailable").headers["retry-after"] == "1"


async def test_what_is_answered_with_200_is_revoked(client):
    """Also what outlives the ten years that a revocation may; what cannot be is not called so."""
    text = token(exp=int(time.time()) + 11 * 366 * 86_400)
    assert await active(client, text)
    assert (await client.post(REVOKE, data={"token": text})).status_code == 200
    assert not await active(client, text)
    answer = await client.post(REVOKE, data={"token": token(jti="x" * 2000)})
    assert "nothing was revoked" in refused(answer, 400, "invalid_request").text


# --- who may ask ------------------------------------------------------------------------


async def test_rfc6749_section_2_3_1_clients_authenticate_by_basic_too(client):
    for password in (ADMIN, "gateway-token%2F%25%3A01"):
        answer = await client.post(
            INTROSPECT, data={"token": token()}, headers=basic("service", password)
        )
        assert answer.json()["active"]


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({"Authorization": ""}, "Basic"),
        ({"Authorization": "Bearer nobody-s-token-001"}, "Bearer"),
        ({"Authorization": "Basic ????"}, "Basic"),
        ({"Authorization": "Basic /w=="}, "Basic"),
        (basic("", ADMIN), "Basic"),
        (basic("service", "nobody-s"), "Basic"),
        ({"Authorization": "Digest a"}, "Basic"),
    ],
)
@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
@pytest.mark.asyncio(loop_scope="module")
async def test_rfc6749_section_5_2_a_client_that_does_not_authenticate(
    common_client, path, headers, challenge
):
    answer = await common_client.post(path, data={"token": token()}, headers=headers)
    refused(answer, 401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith(challenge)


async def test_rfc6750_section_3_1_a_service_may_ask_and_not_revoke(client):
    service = {"Authorization": f"Bearer {GATEWAY}"}
    answer = await client.post(REVOKE, data={"token": token()}, headers=service)
    refused(answer, 403, "insufficient_scope")
    answer = await client.post(INTROSPECT, data={"token": token()}, headers=service)
    assert answer.json()["active"]


# --- RFC 7662 ---------------------------------------------------------------------------


async def test_rfc7662_section_2_2_what_is_told_of_an_active_token(client):
    claims = {
        "scope": "a b", "client_id": "web", "iss": "us", "aud": ["api"], "nbf": 5, "secret": "x",
    }  # fmt: skip
    text = token(**claims)
    answer = (await client.post(INTROSPECT, data={"token": text})).json()
    known = jwt.decode(text, options={"verify_signature": False})
    del known["secret"]
    assert answer == {"active": True, "token_type": "Bearer"} | known
    assert all(type(answer[name]) is int for name in ("exp", "iat", "nbf"))


@pytest.mark.parametrize(
    "text",
    ["garbage", token(exp=5), token(nbf=2**31), jwt.encode({"jti": "a"}, KEY), token(jti="")[:-4]],
)
async def test_rfc7662_section_2_2_nothing_is_told_of_another(client, text):
    assert not await active(client, text)


async def test_rfc7662_a_claim_that_only_json_can_spell_is_told(client):
    answer = await client.post(INTROSPECT, data={"token": token(sub="\ud800")})
    assert (answer.status_code, answer.json()["sub"]) == (200, "\ud800")


async def test_rfc7662_section_2_2_a_refresh_token_that_was_used_is_not_active(client, state):
    first = state.refresh_tokens.begin("42")
    second = await state.refresh_tokens.rotate(first)
    assert not await active(client, jwt.encode(first, KEY))
    answer = await client.post(INTROSPECT, data={"token": jwt.encode(dict(second.claims), KEY)})
    assert answer.json()["active"]
    assert "token_type" not in answer.json()


@pytest.mark.parametrize(
    "error", [NotReadyError("not yet"), StaleError("old"), KeysUnavailableError("none")]
)
async def test_rfc7662_who_cannot_say_does_not_say_inactive(client, state, monkeypatch, error):
    def unable(_):
        raise error

    monkeypatch.setattr(state.revocations, "vouch", unable)
    answer = await client.post(INTROSPECT, data={"token": token()})
    assert refused(answer, 503, "temporarily_unavailable").headers["retry-after"] == "1"
