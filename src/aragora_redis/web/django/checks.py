"""What `manage.py check` finds wrong with a project, and what mends it. Nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.sessions import middleware
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name of it
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver
from django.utils.module_loading import import_string

from ...errors import AragoraRedisError, InvalidInputError, SettingsError
from ...policies import Policies
from ...sync import SharedState
from ..cookie import SameSite, cookie_name
from . import rate_limit, tokens
from .clients import by_address
from .options import Options, options, subject_of
from .session_middleware import SessionMiddleware
from .state import planned

ENGINE = "aragora_redis.web.django.sessions"
_CACHE = "django.middleware.cache."
_CACHES = (f"{_CACHE}UpdateCacheMiddleware", f"{_CACHE}CacheMiddleware")
_FETCHES = (f"{_CACHE}FetchFromCacheMiddleware", f"{_CACHE}CacheMiddleware")
_USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
_JSON = "django.contrib.sessions.serializers.JSONSerializer"
_REDIS = "name the Redis of the service in ARAGORA_REDIS_URL, or its Sentinels"

_Found = Iterator[CheckMessage]


def check_project(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Mistakes in the settings, the environment and the policies file."""
    del app_configs  # they concern the project, whichever apps are asked about
    try:
        said, state = options(), planned()
        for each in said.limits.values():
            subject_of(each.subject, by_address)
        policies = state.policies
    except (ImproperlyConfigured, AragoraRedisError) as error:
        return [_error("E001", str(error), "correct what it names; docs/how-to/django.md")]
    found = chain(
        _limits(said, policies),
        _tokens(state),
        _order(),
        _session_engine(policies),
    )
    return list(found)


def check_deployment(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """What is right for development alone (`manage.py check --deploy`)."""
    del app_configs
    try:
        alone = planned().settings.mode == "embedded"
    except ImproperlyConfigured:
        return []  # told by the other check
    told = "there is no Redis: limits, sessions and revoked tokens are those of each process alone"
    return [_warning("W005", told, _REDIS)] if alone else []


def _limits(said: Options, policies: Policies) -> _Found:
    _load_views()
    named = {(policy, "ARAGORA['LIMITS'] names") for policy in said.limits}
    named |= {(policy, "a decorated view is under") for policy in rate_limit.limited_by}
    for policy, where in sorted(named):
        if policy not in policies.limits:
            yield _error(
                "E002",
                f"{where} the limit {policy!r}, which the policies file does not have",
                f"add [limits.{policy}] to the file that ARAGORA_POLICIES names; it has: "
                + ", ".join(sorted(policies.limits)),
            )
    if said.limits and not _installed(rate_limit.RateLimitMiddleware):
        yield _warning(
            "W001",
            "ARAGORA['LIMITS'] limits nothing",
            "add aragora_redis.web.django.RateLimitMiddleware to MIDDLEWARE",
        )


def _tokens(state: SharedState) -> _Found:
    if not _installed(tokens.TokenMiddleware) and not tokens.demands:
        return
    try:
        tokens.require_key(state.settings)
    except SettingsError as error:
        yield _error("E003", f"tokens are demanded, and {error.message}", error.remedy)


def _order() -> _Found:
    """Who stands behind a cache is not asked where that answers; a user's session comes first."""
    for kind in (tokens.TokenMiddleware, rate_limit.RateLimitMiddleware):
        place = _installed(kind)
        if place and any(name in _FETCHES for name in settings.MIDDLEWARE[: place[0]]):
            yield _error(
                "E004",
                f"{kind.__name__} is behind the cache, which answers without it",
                f"put it before {_FETCHES[0]} in MIDDLEWARE",
            )
    place = _installed(SessionMiddleware)
    if place and _USERS in settings.MIDDLEWARE[: place[0]]:
        yield _error(
            "E007",
            "AuthenticationMiddleware finds no session",
            "put SessionMiddleware before it in MIDDLEWARE",
        )
    place = _installed(rate_limit.RateLimitMiddleware)
    if place and any(name in _CACHES for name in settings.MIDDLEWARE[: place[0]]):
        yield _warning(
            "W002",
            "the fields that tell one client of its limit are stored in the cache, for others too",
            f"put RateLimitMiddleware before {_CACHES[0]} in MIDDLEWARE",
        )


def _session_engine(policies: Policies) -> _Found:
    ours = settings.SESSION_ENGINE == ENGINE
    if _installed(SessionMiddleware) and not ours:
        yield _error(
            "E005",
            "aragora_redis.web.django.SessionMiddleware is there for another session engine",
            f'set SESSION_ENGINE = "{ENGINE}"',
        )
    if not ours:
        return
    if _installed(middleware.SessionMiddleware) and not _installed(SessionMiddleware):
        yield _warning(
            "W003",
            "requests that meet an outage of Redis are answered with 500, and users see no devices",
            "put aragora_redis.web.django.SessionMiddleware in the place of Django's",
        )
    if settings.SESSION_SERIALIZER != _JSON:
        yield _warning(
            "W006",
            "SESSION_SERIALIZER is not asked: each field is stored as JSON",
            "take it out, and put only what JSON has into sessions",
        )
    most = policies.sessions.most
    if most < settings.SESSION_COOKIE_AGE:
        yield _warning(
            "W004",
            f"sessions end after {most:g} s at the latest, and SESSION_COOKIE_AGE says "
            f"{settings.SESSION_COOKIE_AGE} s",
            "set SESSION_COOKIE_AGE to no more, or `longest` in [sessions] of the policies file",
        )
    yield from _cookie()


def _cookie() -> _Found:
    site = settings.SESSION_COOKIE_SAMESITE
    same_site: SameSite = "none" if str(site).lower() == "none" and site else "lax"
    try:
        cookie_name(
            settings.SESSION_COOKIE_NAME,
            secure=bool(settings.SESSION_COOKIE_SECURE),
            same_site=same_site,
            path=settings.SESSION_COOKIE_PATH,
            domain=settings.SESSION_COOKIE_DOMAIN,
        )
    except InvalidInputError as error:
        yield _error(
            "E006",
            f"browsers would drop the session's cookie: {error.message}",
            "SESSION_COOKIE_NAME, _SECURE, _PATH, _DOMAIN and _SAMESITE contradict each other",
        )


def _load_views() -> None:
    """Decorators name their policies when their views are loaded."""
    if getattr(settings, "ROOT_URLCONF", None):
        get_resolver().url_patterns  # noqa: B018 - it is read for what that loads


def _installed(kind: type) -> list[int]:
    """Where a middleware, or one that derives from it, is in `MIDDLEWARE`."""
    return [
        place
        for place, name in enumerate(settings.MIDDLEWARE)
        if isinstance(found := _imported(name), type) and issubclass(found, kind)
    ]


def _imported(name: str) -> Callable[..., Any] | None:
    try:
        found: Callable[..., Any] = import_string(name)
    except ImportError:
        return None  # Django says so where it loads them
    return found


def _error(number: str, told: str, hint: str) -> Error:
    return Error(f"aragora-redis: {told}", hint=hint, id=f"aragora_redis.{number}")


def _warning(number: str, told: str, hint: str) -> Warning:
    return Warning(f"aragora-redis: {told}", hint=hint, id=f"aragora_redis.{number}")
