"""A Django project for tests: importing it sets Django up, once in a process."""

from __future__ import annotations

import threading
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

ENGINE = "aragora_redis.web.django.sessions"
OURS = "aragora_redis.web.django"
MIDDLEWARE = [
    f"{OURS}.ProblemMiddleware",
    f"{OURS}.RateLimitMiddleware",
    f"{OURS}.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "file:django_service?mode=memory&cache=shared",
        }
    },
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", OURS],
    LOGGING_CONFIG=None,
    MIDDLEWARE=MIDDLEWARE,
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="k" * 50,
    SESSION_COOKIE_AGE=3600,
    SESSION_ENGINE=ENGINE,
)
django.setup()

# What follows can be imported only once Django is set up.
from django.contrib.auth import alogin, alogout, login, logout, update_session_auth_hash  # noqa: E402
from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.checks.registry import registry  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.decorators import method_decorator  # noqa: E402
from django.views import View  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from aragora_redis.errors import OutageError  # noqa: E402
from aragora_redis.web.django import get_state, limited, require_token, token_of  # noqa: E402
from aragora_redis.web.django.throttling import PolicyThrottle  # noqa: E402

__all__ = ["AsyncClient", "Client", "ImproperlyConfigured", "User", "override_settings"]

gate = threading.Event()
"""Lets the slow views go on."""
waiting = threading.Semaphore(0)
"""Released by each of them as it begins to wait."""


def registered():
    """The system checks that are known."""
    return registry.get_checks()


def make_tables():
    """The tables of users, as long as a connection is open."""
    with connection.cursor() as cursor:
        if "auth_user" in connection.introspection.table_names(cursor):
            return
    with connection.schema_editor() as editor:
        for model in (ContentType, Permission, Group, User):
            editor.create_model(model)


def read(request):
    return JsonResponse(dict(request.session.items()))


def plain(_):
    return HttpResponse("ok")


def who(request):
    """Can do without its session."""
    try:
        return HttpResponse(request.session.get("name", "nobody"))
    except OutageError:
        return HttpResponse("nobody knows")


def put(request):
    request.session.update(request.GET.dict())
    return HttpResponse("ok")


def begin(request):
    """As views do that want a key to store something under."""
    if not request.session.session_key:
        request.session.save()
    return HttpResponse("ok")


def append(request):
    """Changes what a field holds, of which Django knows nothing."""
    request.session["items"].append(1)
    return HttpResponse("ok")


def clear(request):
    request.session.clear()
    return HttpResponse("ok")


def slow(request):
    """Reads first, and writes once it may."""
    dict(request.session.items())
    waiting.release()
    assert gate.wait(10)
    request.session.update(request.GET.dict())
    return HttpResponse("ok")


def slow_read(request):
    """Reads, and answers once it may."""
    read = dict(request.session.items())
    waiting.release()
    assert gate.wait(10)
    return JsonResponse(read)


def slow_cycle(request):
    """Gives its session another id, and changes it once it may; `now` writes that itself."""
    request.session.cycle_key()
    waiting.release()
    assert gate.wait(10)
    request.session.update(request.GET.dict())
    if "now" in request.GET:
        request.session.save()
    return HttpResponse("ok")


def wrong(request):
    request.session["x"] = object()
    return HttpResponse("ok")


def remember(request):
    request.session.set_expiry(int(request.GET["for"]))
    return HttpResponse("ok")


def log_in(request):
    login(request, User.objects.get(username=request.GET.get("user", "ann")))
    return HttpResponse("ok")


def log_out(request):
    logout(request)
    return HttpResponse("ok")


def flush(request):
    request.session.flush()
    return HttpResponse("ok")


def change_password(request):
    request.user.set_password("other")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse("ok")


def me(request):
    user = request.user
    return JsonResponse({"user": user.get_username(), "handle": request.session.handle})


def circuit(_):
    with get_state().circuits["upstream"]:
        return HttpResponse("ok")


def refused(request):
    get_state().tokens.verify(request.GET["token"])


def fails(_):
    raise ValueError("not ours")


async def aread(request):
    return JsonResponse(dict(await request.session.aitems()))


async def aput(request):
    for name, value in request.GET.items():
        await request.session.aset(name, value)
    return HttpResponse("ok")


async def alog_in(request):
    await alogin(request, await User.objects.aget(username="ann"))
    return HttpResponse("ok")


async def alog_out(request):
    await alogout(request)
    return HttpResponse("ok")


async def ame(request):
    return JsonResponse({"user": (await request.auser()).get_username()})


def by_user(request):
    user = request.user
    return f"user:{user.pk}" if user.is_authenticated else None


@limited("login")
def tight(_):
    return HttpResponse("ok")


@limited("login")
async def atight(_):
    return HttpResponse("ok")


@limited("login", subject=by_user)
async def amine(_):
    return HttpResponse("ok")


@limited("login", subject=by_user)
def mine(_):
    return HttpResponse("ok")


@method_decorator(limited("login"), name="get")
class TightView(View):
    def get(self, _):
        return HttpResponse("ok")


@method_decorator(limited("login"), name="get")
class ATightView(View):
    async def get(self, _):
        return HttpResponse("ok")


@require_token("read")
def whose(request):
    return JsonResponse({"user": token_of(request).user, "claims": request.claims["sub"]})


@require_token("read")
async def awhose(request):
    return JsonResponse({"user": token_of(request).user})


class LoginThrottle(PolicyThrottle):
    policy = "login"


class Rest(APIView):
    throttle_classes = [LoginThrottle]  # noqa: RUF012 - as the framework has it

    def get(self, _):
        return Response({"ok": True})


def without(request):
    return JsonResponse({"user": token_of(request).user})


VIEWS: dict[str, Any] = {
    each.__name__: each
    for each in (
        *(plain, read, who, put, begin, append, clear, slow, slow_read, slow_cycle, wrong),
        *(remember, log_in, log_out, flush, change_password, me),
        *(circuit, refused, fails, aread, aput, alog_in, alog_out, ame, tight, atight, amine, mine),
        *(whose, awhose, without),
    )
}
VIEWS["rest"] = Rest.as_view()
VIEWS |= {"tight_view": TightView.as_view(), "atight_view": ATightView.as_view()}
urlpatterns = [path(name, view) for name, view in VIEWS.items()]
