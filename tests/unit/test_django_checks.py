"""What `manage.py check` finds wrong with a Django project."""

from __future__ import annotations

import pytest
from tests import django_service as service
from tests.django_service import override_settings

from aragora_redis.sync import SharedState
from aragora_redis.testing.sync import memory_state
from aragora_redis.web.django import rate_limit, tokens
from aragora_redis.web.django import state as held
from aragora_redis.web.django.checks import check_deployment, check_project

POLICIES = """
[limits.api]
rate = "1 per minute"
[limits.login]
rate = "1 per minute"
[sessions]
absolute = "2 hours"
"""
OURS = service.OURS
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
CACHE = "django.middleware.cache"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    path = tmp_path / "policies.toml"
    path.write_text(POLICIES)
    monkeypatch.setenv("ARAGORA_POLICIES", str(path))
    monkeypatch.setenv("ARAGORA_JWT_SECRET", "k" * 40)
    monkeypatch.setattr(held, "_made", None)
    return monkeypatch


def found(**changed):
    with override_settings(**changed):
        return {str(each.id).removeprefix("aragora_redis."): each for each in check_project(None)}


def test_a_project_that_is_right_is_not_warned():
    assert found() == {}
    assert held._made is None  # nothing was started to find that out


def test_the_app_registers_them():
    assert check_project in service.registered()


@pytest.mark.parametrize(
    ("changed", "number", "told", "hint"),
    [
        ({"ARAGORA": {"LIMITZ": {}}}, "E001", "LIMITZ", "django.md"),
        ({"ARAGORA": {"LIMITS": {"api": {"subject": "no.such"}}}}, "E001", "no", "django.md"),
        ({"ARAGORA": {"TRUSTED_PROXIES": ["x"]}}, "E001", "10.0.0.0/8", "django.md"),
        ({"ARAGORA": {"STATE": "no.such.state"}}, "E001", "no", "django.md"),
        ({"ARAGORA": {"STATE": "os.path.join"}}, "E001", "no aragora_redis.sync", "django.md"),
        ({"ARAGORA": {"LIMITS": {"x": {}}}}, "E002", "limit 'x'", "api, login"),
        (
            {"ARAGORA": {"LIMITS": {"api": {}}}, "MIDDLEWARE": []},
            *("W001", "limits nothing", "RateLimitMiddleware"),
        ),
        (
            {"MIDDLEWARE": [f"{CACHE}.FetchFromCacheMiddleware", f"{OURS}.TokenMiddleware"]},
            *("E004", "TokenMiddleware is behind the cache", "before"),
        ),
        (
            {"MIDDLEWARE": [f"{CACHE}.CacheMiddleware", f"{OURS}.RateLimitMiddleware"]},
            *("E004", "RateLimitMiddleware is behind the cache", "before"),
        ),
        (
            {"MIDDLEWARE": [f"{CACHE}.UpdateCacheMiddleware", f"{OURS}.RateLimitMiddleware"]},
            *("W002", "for others too", "before"),
        ),
        (
            {"MIDDLEWARE": [AUTHENTICATION, f"{OURS}.SessionMiddleware"]},
            *("E007", "finds no session", "before it"),
        ),
        ({"ARAGORA": {"LIMITS": {"api": {"cost": 0}}}}, "E001", "cost", "django.md"),
        ({"ARAGORA": {"TOKENS": {"paths": ["api"]}}}, "E001", "'api' in paths", "django.md"),
        (
            {"ARAGORA": {"LIMITS": {"api": {"exempt": ["healthz"]}}}},
            *("E001", "'healthz' in exempt", "django.md"),
        ),
        ({"MIDDLEWARE": [DJANGOS]}, "W003", "500", "in the place of Django's"),
        (
            {"SESSION_ENGINE": "django.contrib.sessions.backends.db"},
            *("E005", "another session engine", service.ENGINE),
        ),
        ({"SESSION_COOKIE_AGE": 7201}, "W004", "7200", "longest"),
        ({"SESSION_SERIALIZER": "shop.Pickle"}, "W006", "JSON", "take it out"),
        ({"SESSION_COOKIE_NAME": "__Host-session"}, "E006", "secure", "SESSION_COOKIE_NAME"),
        (
            {
                "SESSION_COOKIE_NAME": "__Host-session",
                "SESSION_COOKIE_SECURE": True,
                "SESSION_COOKIE_DOMAIN": "example.org",
            },
            *("E006", "no domain", "_DOMAIN"),
        ),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "E006", "secure", "_SAMESITE"),
    ],
    ids=[
        *("option", "subject", "proxy", "state", "no-state", "policy", "not-limited"),
        *(
            "token-behind-cache",
            "limit-behind-cache",
            "limit-in-cache",
            "user-before-session",
            "cost",
            "path-of-tokens",
            "path-of-limit",
        ),
        "djangos-sessions",
        *("other-engine", "age", "serializer", "host-not-secure", "host-domain", "same-site"),
    ],
)
def test_a_mistake_is_named_with_what_mends_it(changed, number, told, hint):
    message = found(**changed)[number]
    assert told in message.msg
    assert hint in str(message.hint)


def test_what_the_environment_says_wrongly_is_named(environment):
    environment.setenv("ARAGORA_REDIS_DEADLINE", "soon")
    assert "ARAGORA_REDIS_DEADLINE" in found()["E001"].msg


def test_a_policies_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "policies.toml").write_text("[limits.api]\nrate = 'often'\n")
    assert "policies.toml" in found()["E001"].msg


def test_the_policy_of_a_decorated_view_is_looked_up(environment):
    environment.setattr(rate_limit, "limited_by", {"logn"})
    assert "limit 'logn'" in found()["E002"].msg


def test_views_are_loaded_to_see_what_they_name(environment, tmp_path):
    environment.setattr(rate_limit, "limited_by", set())
    environment.syspath_prepend(tmp_path)
    (tmp_path / "late_urls.py").write_text(
        "from aragora_redis.web.django import limited\nurlpatterns = []\nlimited('late')(print)\n"
    )
    assert "limit 'late'" in found(ROOT_URLCONF="late_urls")["E002"].msg


@pytest.mark.parametrize("by", ["middleware", "decorator"])
def test_tokens_need_a_key(environment, by):
    environment.delenv("ARAGORA_JWT_SECRET")
    middleware = [f"{OURS}.TokenMiddleware"] if by == "middleware" else []
    environment.setattr(tokens, "demands", [] if by == "middleware" else [("read",)])
    assert "ARAGORA_JWT_SECRET" in str(found(MIDDLEWARE=middleware)["E003"].hint)


def test_a_decorated_view_without_a_key_is_told_so(environment):
    environment.delenv("ARAGORA_JWT_SECRET")
    environment.setattr(held, "_made", memory_state())
    client = service.Client(raise_request_exception=False)
    answer = client.get("/whose")
    assert (answer.status_code, answer["content-type"]) == (500, "application/problem+json")
    held.get_state().close()


def test_the_middleware_refuses_to_work_without_a_key(environment):
    environment.delenv("ARAGORA_JWT_SECRET")
    with (
        override_settings(MIDDLEWARE=[f"{OURS}.TokenMiddleware"]),
        pytest.raises(service.ImproperlyConfigured, match="ARAGORA_JWT_SECRET"),
    ):
        service.Client().get("/read")


def test_to_deploy_there_is_to_be_a_redis(environment):
    (warned,) = check_deployment(None)
    assert "ARAGORA_REDIS_URL" in str(warned.hint)
    environment.setenv("ARAGORA_REDIS_URL", "redis://127.0.0.1:1")
    assert check_deployment(None) == []
    environment.setenv("ARAGORA_REDIS_DEADLINE", "soon")
    assert check_deployment(None) == []


def test_a_state_of_the_projects_own_is_used(environment):
    with SharedState.from_env() as own:
        environment.setattr(service, "own", own, raising=False)
        with override_settings(ARAGORA={"STATE": "tests.django_service.own"}):
            assert held.get_state() is own
    environment.setattr(held, "_made", None)
