"""`/authz` over an in-process state: what decides, and what proxies are told."""

from __future__ import annotations

import hashlib
import time
from urllib.parse import unquote

import httpx
import jwt
import pytest
from tests.gateways import client_of

from aragora_redis.errors import SettingsError, StaleError
from aragora_redis.gateway.authz import Asked, asked_in, told
from aragora_redis.policies import parse_policies
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

KEY = "0123456789abcdef" * 4
POLICIES = """
[limits.api]
rate = "2 per hour"
[limits.public]
rate = "1 per hour"
"""
PROXY, CLIENT = "127.0.0.1", "203.0.113.9"


def state_in(tmp_path, trusted):
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    return SharedState(
        from_env(
            {
                "ARAGORA_POLICIES": str(policies),
                "ARAGORA_JWT_SECRET": KEY,
                "ARAGORA_GATEWAY_TOKEN": "gateway-token-0001",
                "ARAGORA_TRUSTED_PROXIES": trusted,
                "ARAGORA_RATE_LIMIT_X_HEADERS": "true",
            }
        )
    )


@pytest.fixture
def state(tmp_path):
    return state_in(tmp_path, f"{PROXY}, 10.0.0.0/8")


@pytest.fixture
async def client(state):
    async with client_of(state) as made:
        yield made


def bearer(**claims):
    claims = {"sub": "42", "exp": time.time() + 60, "jti": "one"} | claims
    signed = {name: value for name, value in claims.items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(signed, KEY)}"}


def forwarded(*addresses):
    return [("X-Forwarded-For", each) for each in addresses]


def verdict(answer):
    assert answer.headers["X-Aragora-Status"] == str(answer.status_code)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/authz/user/api", Asked("user", frozenset(), "api")),
        ("/authz/user+a+b:c/api", Asked("user", frozenset({"a", "b:c"}), "api")),
        ("/authz/address/api/their/own?path", Asked("address", frozenset(), "api")),
        ("/authz/caller/-/", Asked("caller", frozenset(), None)),
        ("/authz", Asked("user", frozenset(), "authz", if_defined=True)),
        ("/authz/user", None),
        ("/authz/user/", None),
        ("/authz/user//api", None),
        ("/authz/user+/api", None),
        ('/authz/user+"/api', None),
        ("/authz/user+a\r\nb/api", None),
        ("/authz/address+a/api", None),
        ("/authz/admin/api", None),
        ("/authz/", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_path_asks(path, asked):
    assert asked_in(path) == asked


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("auth0|42", "auth0|42"),
        ("a@b.example", "a@b.example"),
        ("é\r\nX-Aragora-Scope: all", "%C3%A9%0D%0AX-Aragora-Scope:%20all"),
        ("100%", "100%25"),
        ("\ud800", "%ED%A0%80"),
    ],
    ids=["auth0", "mail", "lines", "percent", "half"],
)
def test_what_is_told_is_one_field_that_is_read_as_it_was(text, field):
    assert told(text) == field
    assert unquote(field, errors="surrogatepass") == text


async def test_a_user_is_named_and_counted(client):
    answer = await client.get("/authz/user/api", headers=bearer(scope="read write"))
    assert (verdict(answer), answer.content) == (200, b"")
    assert answer.headers["X-Aragora-User"] == "42"
    assert answer.headers["X-Aragora-Scope"] == "read write"
    assert answer.headers["RateLimit"].startswith('"api";r=1;')
    assert answer.headers["RateLimit-Policy"] == '"api";q=2;w=3600'
    assert answer.headers["X-RateLimit-Remaining"] == "1"
    again = await client.post("/authz/user/api/their/path", headers=bearer(jti="two"))
    assert verdict(again) == 200
    refused = await client.get("/authz/user/api", headers=bearer(jti="three"))
    assert verdict(refused) == 429
    assert int(refused.headers["Retry-After"]) > 60
    assert refused.headers["RateLimit"].startswith('"api";r=0;')
    assert refused.headers["X-RateLimit-Limit"] == "2"
    assert "X-Aragora-User" not in refused.headers
    another = await client.get("/authz/user/api", headers=bearer(sub="43"))
    assert verdict(another) == 200


@pytest.mark.parametrize("who", ["user", "caller", "address"])
async def test_of_two_tokens_a_service_might_read_the_other_one(client, who):
    two = [*bearer().items(), *bearer(sub="43").items()]
    answer = await client.get(f"/authz/{who}/-", headers=two)
    assert verdict(answer) == 401
    assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("field", ["Content-Type", "Origin"])
async def test_fields_that_are_not_looked_at_may_be_there_twice(client, field):
    twice = [(field, "a"), (field, "b")]
    assert verdict(await client.get("/authz/address/-", headers=twice)) == 200


async def test_of_more_scopes_than_proxies_have_room_for_none_is_told(client):
    for count, shown in ((100, True), (200, False)):
        scopes = [f"scope-{number:06}" for number in range(count)]
        headers = bearer(scope=" ".join(scopes), jti=f"with-{count}")
        answer = await client.get(f"/authz/user+{scopes[-1]}/-", headers=headers)
        assert verdict(answer) == 200
        assert answer.headers["X-Aragora-User"] == "42"
        assert answer.headers["X-Aragora-Scope"] == (" ".join(scopes) if shown else "")


@pytest.mark.parametrize("length", [1019, 1020, 1024])
@pytest.mark.parametrize(("claim", "kind"), [("sub", "user"), ("jti", "token")])
async def test_who_has_a_long_id_is_counted_by_its_digest_where_it_does_not_fit(
    client, state, claim, kind, length
):
    named = {"sub": None, claim: "é" * length}
    assert verdict(await client.get("/authz/user/api", headers=bearer(**named))) == 200
    subject = f"{kind}:{named[claim]}"
    if len(subject) > 1024:
        subject = f"{kind}:#{hashlib.sha256(named[claim].encode()).hexdigest()}"
    assert (await state.rate_limits.check("api", subject, cost=0)).remaining == 1


async def test_a_token_without_a_user_is_counted_by_itself(client):
    for jti, status in (("one", 200), ("one", 200), ("one", 429), ("two", 200)):
        answer = await client.get("/authz/user/api", headers=bearer(sub=None, jti=jti))
        assert verdict(answer) == status


async def test_a_token_alone_may_be_asked_for(client):
    for _ in range(3):
        answer = await client.get("/authz/user/-", headers=bearer())
        assert verdict(answer) == 200
    assert "RateLimit" not in answer.headers


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ([], None),
        ([("Authorization", "Basic dXNlcjpwYXNz")], None),
        ([("Authorization", "Bearer")], None),
        ([("Authorization", "Bearer @@@")], "invalid_request"),
        ([("Authorization", "Bearer one two")], "invalid_request"),
        ([("Authorization", "Bearer a.b.c")], "invalid_token"),
        ([*bearer(exp=1).items()], "invalid_token"),
    ],
    ids=["none", "basic", "empty", "garbage", "two", "unsigned", "expired"],
)
async def test_who_shows_no_token_that_holds_is_told_401(client, sent, error):
    answer = await client.get("/authz/user/api", headers=sent)
    assert verdict(answer) == 401
    assert (error or "realm") in answer.headers["WWW-Authenticate"]
    assert ("error=" in answer.headers["WWW-Authenticate"]) is bool(error)
    assert not {"RateLimit", "X-Aragora-User"} & {*answer.headers}


async def test_a_token_in_the_query_is_none(client):
    token = bearer()["Authorization"].removeprefix("Bearer ")
    answer = await client.get("/authz/user/api", params={"access_token": token, "policy": "public"})
    assert verdict(answer) == 401


async def test_a_revoked_token_is_refused(client, state):
    assert verdict(await client.get("/authz/user/api", headers=bearer())) == 200
    await state.tokens.revoke("one", expires_at=time.time() + 60)
    assert verdict(await client.get("/authz/user/api", headers=bearer())) == 401
    assert verdict(await client.get("/authz/user/api", headers=bearer(jti="two"))) == 200


async def test_a_token_that_allows_too_little_is_403(client):
    answer = await client.get("/authz/user+read+write/api", headers=bearer(scope="read"))
    assert verdict(answer) == 403
    assert 'error="insufficient_scope", scope="read write"' in answer.headers["WWW-Authenticate"]
    answer = await client.get("/authz/user+read/api", headers=bearer(scope="read"))
    assert verdict(answer) == 200
    assert answer.headers["RateLimit"].startswith('"api";r=1;'), "a refusal has taken nothing"


async def test_what_cannot_be_known_is_503_and_never_401(client, state, monkeypatch):
    def stale(_):
        raise StaleError("what is known of revocations is too old: 10.0.0.7:6379")

    monkeypatch.setattr(state.tokens.verification, "_verdict", stale)
    answer = await client.get("/authz/user/api", headers=bearer())
    assert verdict(answer) == 503
    assert answer.headers["Retry-After"] == "1"
    assert "10.0.0.7" not in answer.text, "a proxy may hand it to anybody"


async def test_an_address_is_the_one_that_the_proxy_has_added(client):
    ask = "/authz/address/public"
    for spoofed in ("198.51.100.1", "198.51.100.2, 10.0.0.1", "garbage", CLIENT):
        answer = await client.get(ask, headers=forwarded(spoofed, f"{CLIENT}, 10.1.2.3"))
        assert verdict(answer) == (200 if spoofed == "198.51.100.1" else 429)
        assert "X-Aragora-User" not in answer.headers
    others = {
        "Forwarded": "for=198.51.100.7",
        "X-Real-IP": "198.51.100.7",
        "X-Forwarded-For": CLIENT,
    }
    assert verdict(await client.get(ask, headers=others)) == 429
    assert verdict(await client.get(ask, headers=bearer() | {"X-Forwarded-For": CLIENT})) == 429
    assert verdict(await client.get(ask, headers=forwarded("198.51.100.7"))) == 200


async def test_proxies_that_write_forwarded_are_believed_in_that_alone(tmp_path):
    ask = "/authz/address/public"
    async with client_of(state_in(tmp_path, f"{PROXY}, 10.0.0.0/8, forwarded")) as client:
        for number, spoofed in enumerate(("for=198.51.100.1", 'for="198.51.100.2', "garbage")):
            told = [("Forwarded", spoofed), ("Forwarded", f'for="{CLIENT}:4711", for=10.1.2.3')]
            told += forwarded(f"198.51.100.{number}")
            assert verdict(await client.get(ask, headers=told)) == (429 if number else 200)


async def test_without_an_address_all_are_one_and_the_log_says_so_once(client, caplog):
    statuses = [verdict(await client.get("/authz/address/public")) for _ in range(3)]
    assert statuses == [200, 429, 429]
    assert sum("X-Forwarded-For" in record.message for record in caplog.records) == 1


async def test_a_caller_is_a_user_where_a_token_was_sent(client):
    ask, address = "/authz/caller/public", {"X-Forwarded-For": CLIENT}
    for sent, status in ((address, 200), (address, 429), (bearer() | address, 200)):
        assert verdict(await client.get(ask, headers=sent)) == status
    bad = {"Authorization": "Bearer a.b.c"} | address
    assert verdict(await client.get(ask, headers=bad)) == 401


async def test_the_bare_path_asks_for_a_token_alone_where_no_limit_has_its_name(client):
    for _ in range(3):
        answer = await client.get("/authz", headers=bearer(scope="read"))
        assert (verdict(answer), answer.content) == (200, b"")
    assert (answer.headers["X-Aragora-User"], answer.headers["X-Aragora-Scope"]) == ("42", "read")
    assert "RateLimit" not in answer.headers
    assert verdict(await client.get("/authz")) == 401
    assert verdict(await client.get("/authz", headers=bearer(exp=1))) == 401


async def test_the_bare_path_counts_by_the_limit_of_its_name_as_soon_as_there_is_one(client, state):
    async def ask(path):
        return await client.get(path, headers=bearer())

    with_it = parse_policies(POLICIES + '[limits.authz]\nrate = "2 per hour"\n', source="x")
    without, verify = state.policies, state.tokens.verify
    state.use_policies(with_it)
    answer = await ask("/authz?policy=public")
    assert (verdict(answer), answer.headers["RateLimit-Policy"]) == (200, '"authz";q=2;w=3600')
    assert verdict(await ask("/authz/user/authz")) == 200
    assert verdict(await ask("/authz")) == 429
    assert verdict(await client.get("/authz", headers=bearer(sub="43"))) == 200

    async def verify_while_it_goes(token):
        state.use_policies(without)
        return await verify(token)

    state.tokens.verify = verify_while_it_goes
    assert verdict(await ask("/authz")) == 200


async def test_the_bare_path_is_for_proxies_with_what_their_clients_have_said(client):
    said = bearer() | {"Host": "api.example.com", "Origin": "https://app.example.com"}
    for method in ("GET", "HEAD", "POST", "PROPFIND"):
        assert verdict(await client.request(method, "/authz", headers=said)) == 200
    two = [*bearer().items(), *bearer(sub="43").items()]
    assert verdict(await client.get("/authz", headers=two)) == 401
    elsewhere = httpx.ASGITransport(client._transport.app, client=(CLIENT, 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://localhost:8080") as stranger:
        answer = await stranger.get("/authz", headers=bearer())
    assert (answer.status_code, "X-Aragora-Status" in answer.headers) == (403, False)


async def test_no_more_of_a_path_is_taken_for_the_bare_one(client):
    """As of a proxy that appends its client's path."""
    for path in ("/authz/", "/authz/orders", "/authz//", "/authz/%2e%2e/authz"):
        answer = await client.get(path, headers=bearer())
        assert verdict(answer) == 404, path
        assert "/authz, with no more" in answer.json()["remedy"]
    for path in ("/authzorders", "/authz%20", "/AUTHZ", "//authz"):
        answer = await client.get(path, headers=bearer())
        assert (answer.status_code, "X-Aragora-Status" in answer.headers) == (404, False), path


async def test_the_framework_answers_the_same(client):
    """Whoever stands in front of it only spares the way."""
    asked = [("/authz", bearer()), ("/authz", {}), ("/authz/", bearer()), ("/authz/user/-", {})]
    in_front = [await client.get(path, headers=sent) for path, sent in asked]
    app = client._transport.app
    app.front._app = app.front._app._app
    for before, (path, sent) in zip(in_front, asked, strict=True):
        answer = await client.get(path, headers=sent)
        assert answer.status_code == before.status_code
        assert sorted(answer.headers.raw) == sorted(before.headers.raw)
        assert answer.content == before.content


@pytest.mark.parametrize("path", ["user/nothing", "user", "user/api+x", "admin/api"])
async def test_a_path_that_asks_nothing_is_told_apart_from_a_refusal(client, path):
    answer = await client.get(f"/authz/{path}", headers=bearer())
    assert answer.status_code == 404
    assert "public" not in answer.text


async def test_what_is_asked_wrongly_cannot_fill_the_log(client, caplog):
    for number in range(5):
        assert (await client.get(f"/authz/address/wrong-{number}")).status_code == 404
    (said,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert "there are 'api', 'public'" in said
    assert "wrong-0" not in said


async def test_without_a_key_nobody_is_let_in(caplog):
    async with client_of(SharedState(from_env({}))) as client:
        answer = await client.get("/authz/user/api", headers=bearer())
    assert verdict(answer) == 500
    assert "ARAGORA_JWT_SECRET" in caplog.text


async def test_only_a_proxy_of_ours_may_ask(client):
    app = client._transport.app
    elsewhere = httpx.ASGITransport(app, client=(CLIENT, 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://localhost:8080") as stranger:
        answer = await stranger.get("/authz/address/public", headers=forwarded("198.51.100.1"))
    assert answer.status_code == 403
    assert "X-Aragora-Status" not in answer.headers, "it is not the client who is refused"
    for peer in ("10.9.8.7", "::ffff:10.9.8.7"):
        ours = httpx.ASGITransport(app, client=(peer, 1))
        async with httpx.AsyncClient(transport=ours, base_url="http://localhost:8080") as proxy:
            answer = await proxy.get("/authz/address/-")
            assert answer.status_code == 200


async def test_a_proxy_passes_on_what_its_client_has_said(client):
    """Envoy sends the client's host, method and path."""
    sent = bearer() | {"Host": "api.example.com", "Origin": "https://app.example.com"}
    for method in ("POST", "DELETE", "PROPFIND"):
        answer = await client.request(method, "/authz/user/-/a/b%2F..", headers=sent)
        assert verdict(answer) == 200
    assert (await client.get("/v1/status", headers=sent)).status_code == 421


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10.0.0.0/8,localhost", ("10.0.0.0/8", "127.0.0.1", "::1")),
        ("10.1.2.3/8", ("10.0.0.0/8",)),
        ("::1", ("::1/128",)),
    ],
)
def test_trusted_proxies_are_networks(written, read):
    assert from_env({"ARAGORA_TRUSTED_PROXIES": written}).gateway.trusted_proxies == read


@pytest.mark.parametrize("written", ["10.0.0.0/8,proxy.example", "*", "unix", "10.0.0.300"])
def test_what_is_no_network_is_told(written):
    with pytest.raises(SettingsError, match=r"ARAGORA_TRUSTED_PROXIES .* is no address or network"):
        from_env({"ARAGORA_TRUSTED_PROXIES": written})


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "10.0.0.0/8, ::/0"])
def test_that_everybody_is_trusted_is_said(everybody):
    told_at_start = from_env({"ARAGORA_TRUSTED_PROXIES": everybody}).warnings
    assert any("ARAGORA_TRUSTED_PROXIES trusts everybody" in each for each in told_at_start)
