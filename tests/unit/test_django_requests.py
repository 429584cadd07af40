"""Limits and tokens in Django: middleware, and decorators for sync and async views."""

from __future__ import annotations

import time

import jwt
import pytest
from tests import django_service as service
from tests.django_service import AsyncClient, Client, User, override_settings

from aragora_redis.settings import from_env
from aragora_redis.sync import SharedState
from aragora_redis.testing.sync import outage
from aragora_redis.web.django import limited, require_token
from aragora_redis.web.django import state as held

KEY = "0123456789abcdef" * 4
POLICIES = """
[limits.api]
rate = "1 per minute"
burst = 3
[limits.login]
rate = "1 per minute"
on_outage = "fail-closed"
[limits.wide]
rate = "1000 per minute"
"""
PROBLEM = "application/problem+json"


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    env = {"ARAGORA_POLICIES": str(policies), "ARAGORA_JWT_SECRET": KEY}
    with SharedState(from_env(env)) as made:
        monkeypatch.setattr(held, "_made", made)
        yield made


@pytest.fixture
def away(state):
    """Redis is away."""
    with outage(state):
        yield


@pytest.fixture
def ann():
    service.make_tables()
    User.objects.all().delete()
    return User.objects.create_user("ann")


def limits(**more):
    return override_settings(ARAGORA=more)


# --- limits -------------------------------------------------------------------------------


def test_a_limit_is_told_and_kept():
    with limits(LIMITS={"api": {"exempt": ["/fails", "/tight"]}}):
        client = Client()
        answers = [client.get("/read") for _ in range(4)]
        assert [each.status_code for each in answers] == [200, 200, 200, 429]
        assert answers[0]["ratelimit"] == '"api";r=2;t=60'
        assert answers[0]["ratelimit-policy"] == '"api";q=3;w=180'
        assert "retry-after" not in answers[0]
        refused = answers[-1]
        assert refused["content-type"] == PROBLEM
        assert refused["ratelimit"] == '"api";r=0;t=60'
        assert refused["retry-after"] == "60"
        assert refused.json()["type"] == "urn:aragora-redis:limit-exceeded"
        assert "x-ratelimit-limit" not in refused
        assert client.get("/tight").status_code == 200  # exempt
        assert client.get("/nothing").status_code == 429


def test_a_limit_may_be_one_of_some_paths():
    with limits(LIMITS={"api": {"paths": ["/read"], "cost": 3}}):
        client = Client()
        assert [client.get(path).status_code for path in ("/read", "/read", "/me")] == [
            200, 429, 200,
        ]  # fmt: skip


def test_it_counts_by_address_behind_proxies_that_are_trusted():
    with limits(LIMITS={"api": {}}, TRUSTED_PROXIES=["10.0.0.0/8"]):
        client = Client(REMOTE_ADDR="10.0.0.1")

        def left(forwarded):
            return client.get("/read", HTTP_X_FORWARDED_FOR=forwarded)["ratelimit"]

        assert left("203.0.113.1") == '"api";r=2;t=60'
        assert left("203.0.113.2") == '"api";r=2;t=60'
        assert left("203.0.113.9, 203.0.113.1") == '"api";r=1;t=120'  # the left is the client's
        other = Client(REMOTE_ADDR="203.0.113.7")
        first = other.get("/read", HTTP_X_FORWARDED_FOR="203.0.113.200")
        second = other.get("/read", HTTP_X_FORWARDED_FOR="203.0.113.201")
        assert (first["ratelimit"], second["ratelimit"]) == (
            '"api";r=2;t=60', '"api";r=1;t=120',
        )  # fmt: skip


def test_who_has_no_address_is_counted_and_the_log_is_told_once(caplog):
    with limits(LIMITS={"api": {}}):
        client = Client(REMOTE_ADDR="")
        assert client.get("/read")["ratelimit"] == '"api";r=2;t=60'
        assert client.get("/read")["ratelimit"] == '"api";r=1;t=120'
    assert caplog.text.count("come from no address") == 1


def test_several_limits_are_told_together_and_a_decorator_decides_nearer():
    both = {"wide": {"subject": "tests.unit.test_django_requests.everybody"}, "api": {}}
    with limits(LIMITS=both, X_HEADERS=True):
        answer = Client().get("/tight")
    names = [each.split(";")[0] for each in answer["ratelimit"].split(", ")]
    assert names == ['"login"', '"wide"', '"api"']
    assert answer["x-ratelimit-limit"] == "1"  # that of the view


def everybody(_):
    return "all"


@pytest.mark.parametrize("path", ["/tight", "/tight_view"])
def test_a_view_has_a_limit_of_its_own(path):
    client = Client()
    assert client.get(path)["ratelimit"] == '"login";r=0;t=60'
    refused = client.get(path)
    assert (refused.status_code, refused["retry-after"]) == (429, "60")
    assert refused["content-type"] == PROBLEM
    assert Client(REMOTE_ADDR="203.0.113.9").get(path).status_code == 200


@pytest.mark.parametrize("path", ["/atight", "/atight_view", "/tight"])
async def test_so_it_is_under_asgi(path):
    with limits(LIMITS={"api": {}}):
        client = AsyncClient()
        first = await client.get(path)
        assert first["ratelimit"].startswith('"login";r=0;t=60, "api"')
        assert (await client.get(path)).status_code == 429


@pytest.mark.parametrize("path", ["/mine", "/amine"])
def test_a_subject_may_ask_for_the_user(ann, path):
    client = Client()
    assert [client.get(path).status_code for _ in range(3)] == [200] * 3  # counts for nobody
    client.force_login(ann)
    assert [client.get(path).status_code for _ in range(2)] == [200, 429]


@pytest.mark.usefixtures("away")
def test_in_an_outage_a_fail_closed_limit_refuses():
    with limits(LIMITS={"login": {}}):
        answer = Client().get("/read")
    assert (answer.status_code, answer["content-type"]) == (503, PROBLEM)
    assert answer["retry-after"] == "1"
    assert Client().get("/tight").status_code == 503


def test_a_throttle_of_rest_framework_is_a_limit_like_others(ann):
    with limits(LIMITS={"api": {}}):
        client = Client()
        assert client.get("/rest")["ratelimit"] == '"login";r=0;t=60, "api";r=2;t=60'
        refused = client.get("/rest")
        assert (refused.status_code, refused["retry-after"]) == (429, "60")
        assert refused["ratelimit"].startswith('"login";r=0;t=60, "api"')
        client.force_login(ann)  # who is known counts by name
        assert [client.get("/rest").status_code for _ in range(2)] == [200, 429]


@pytest.mark.usefixtures("away")
def test_a_throttle_that_cannot_be_asked_is_a_problem():
    answer = Client().get("/rest")
    assert (answer.status_code, answer["content-type"]) == (503, PROBLEM)


def test_an_error_of_ours_in_a_view_is_a_problem(state):
    state.circuits.force("upstream", "open", reason="a test")
    answer = Client().get("/circuit")
    assert (answer.status_code, answer["content-type"]) == (503, PROBLEM)
    assert answer.json()["type"] == "urn:aragora-redis:circuit-open"


# --- tokens -------------------------------------------------------------------------------


def token(**claims):
    told = {"jti": "t", "sub": "42", "scope": "read", "exp": time.time() + 3600}
    return jwt.encode(told | claims, KEY)


def bearer(text):
    return {"HTTP_AUTHORIZATION": f"Bearer {text}"}


def test_a_token_is_known_until_it_is_revoked(state):
    client = Client()
    assert client.get("/whose", **bearer(token())).json() == {"user": "42", "claims": "42"}
    state.tokens.revoke("t", expires_at=time.time() + 60)
    answer = client.get("/whose", **bearer(token()))
    assert (answer.status_code, answer["content-type"]) == (401, PROBLEM)
    assert 'error="invalid_token"' in answer["www-authenticate"]


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [
        ({}, 401, 'Bearer realm="api"'),
        ({"HTTP_AUTHORIZATION": "Basic x"}, 401, 'Bearer realm="api"'),
        (bearer("a b"), 400, 'error="invalid_request"'),
        (bearer(f"{token()},Bearer x"), 400, 'error="invalid_request"'),
        (bearer("x" * 100_000), 401, 'error="invalid_token"'),
        (bearer(token(exp=1)), 401, 'error="invalid_token"'),
        (bearer(token(scope="write")), 403, 'scope="read"'),
    ],
    ids=["none", "basic", "two words", "two", "huge", "expired", "scope"],
)
def test_others_are_told_why_not(sent, status, told):
    answer = Client().get("/whose", **sent)
    assert answer.status_code == status
    assert told in answer["www-authenticate"]


async def test_a_token_in_an_async_view():
    client = AsyncClient()
    answer = await client.get("/awhose", headers={"authorization": f"Bearer {token()}"})
    assert answer.json() == {"user": "42"}
    assert (await client.get("/awhose")).status_code == 401


def test_a_token_that_a_view_has_refused_is_a_problem():
    with limits(TOKENS={"realm": "shop"}):
        answer = Client().get("/refused?token=x")
    assert (answer.status_code, answer["content-type"]) == (401, PROBLEM)
    assert answer["www-authenticate"].startswith('Bearer realm="shop", error="invalid_token"')


def test_the_middleware_demands_one_of_all_but_some():
    tokens = {
        "exempt": ["/wide_open"],
        "paths": ["/without", "/wide_open"],
        "realm": "shop",
        "scopes": ["read"],
    }
    with override_settings(
        MIDDLEWARE=[f"{service.OURS}.TokenMiddleware"], ARAGORA={"TOKENS": tokens}
    ):
        client = Client()
        assert client.get("/without", **bearer(token())).json() == {"user": "42"}
        assert client.get("/without")["www-authenticate"] == 'Bearer realm="shop"'
        assert client.get("/without", **bearer(token(scope="x"))).status_code == 403
        assert client.get("/wide_open").status_code == 404
        assert client.get("/tight").status_code == 200


def test_who_asks_for_a_token_where_none_is_demanded_is_told_so():
    with pytest.raises(RuntimeError, match="TokenMiddleware"):
        Client().get("/without")


# --- what is set up wrongly -----------------------------------------------------------------


@pytest.mark.parametrize("decorate", [limited, require_token], ids=["limited", "require_token"])
def test_a_decorator_without_parentheses_says_so(decorate):
    with pytest.raises(TypeError, match="@"):
        decorate(everybody)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"LIMITS": {"nonesuch": {}}}, "it has: api, login, wide"),
        ({"LIMITS": {"api": {"exemt": []}}}, "exemt"),
        ({"LIMITS": {"api": {"subject": "tests.nowhere.who"}}}, "subject"),
        ({"LIMITS": {"api": {"subject": 7}}}, "no function"),
        ({"LIMITS": {"api": {}}, "TRUSTED_PROXIES": ["nonsense"]}, "10.0.0.0/8"),
        ({"LIMITS": {"api": {"paths": "/x"}}}, "LIMITS"),
    ],
    ids=["policy", "option", "module", "function", "proxy", "type"],
)
def test_a_mistake_in_the_settings_is_told_before_the_first_request(said, told):
    with (
        override_settings(ARAGORA=said),
        pytest.raises(service.ImproperlyConfigured, match=told),
    ):
        Client().get("/read")
