"""A small service: a cart that survives the login, devices, limits, tokens, a circuit."""

from __future__ import annotations

import time
import uuid

import jwt
from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, alogout, login, logout
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import require_POST

from aragora_redis.web.django import get_state, limited, require_token, session_of, token_of

TOKEN_LIFETIME = 900.0


def healthz(_: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@require_POST
def put_into_cart(request: HttpRequest, item: str) -> HttpResponse:
    """Works without a login; the cart moves along when there is one."""
    request.session["cart"] = [*request.session.get("cart", []), item]
    return JsonResponse({"cart": request.session["cart"]})


@limited("api", cost=10)
@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    """Logs in whoever asks; a real service would ask for a password here."""
    user, _ = User.objects.get_or_create(username=request.POST["user"])
    login(request, user)
    now = time.time()
    claims = {"jti": uuid.uuid4().hex, "sub": str(user.pk), "iat": now, "exp": now + TOKEN_LIFETIME}
    secret = get_state().settings.jwt.secret
    assert secret is not None  # noqa: S101 - require_token has it checked before
    return JsonResponse({"token": jwt.encode(claims, secret.reveal(), algorithm="HS256")})


@ensure_csrf_cookie
def profile(request: HttpRequest) -> HttpResponse:
    """What a browser asks first: it brings what each POST of a session has to send along."""
    user = request.user
    return JsonResponse({"user": user.get_username(), "cart": request.session.get("cart", [])})


def devices(request: HttpRequest) -> HttpResponse:
    """Where the user is logged in; `end_one_of(user, handle)` ends one of them."""
    shown = get_state().sessions.of_user(str(request.user.pk))
    mine = session_of(request).handle
    return JsonResponse({"devices": [[each.device, each.handle == mine] for each in shown]})


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """Ends the session for good, also for requests that are still under way."""
    logout(request)
    return HttpResponse(status=204)


@require_token()
def whose_token(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": token_of(request).user})


@csrf_exempt  # no browser sends a Bearer token by itself, as it sends a cookie
@require_POST
@require_token()
def revoke(request: HttpRequest) -> HttpResponse:
    """Revokes the token itself: from now on no instance accepts it."""
    token = token_of(request)
    ends = token.claims["exp"]
    receipt = get_state().tokens.revoke(token.id, expires_at=ends, reason="logout")
    return JsonResponse({"level": receipt.level.word})


def quote(request: HttpRequest) -> HttpResponse:
    """Spares the upstream while it fails: 502 at first, then 503 at once until it may be tried."""
    try:
        with get_state().circuits["django-quotes"]:
            return JsonResponse({"quote": upstream(up=request.GET.get("up") != "false")})
    except ConnectionError as error:
        return HttpResponse(str(error), status=502)


def upstream(*, up: bool) -> str:
    if not up:
        raise ConnectionError("the upstream does not answer")
    return "42"


# --- the same for ASGI: in a view that awaits, what is asked of Redis runs in a thread ------------


@require_POST
@limited("api", cost=10)
async def alog_in(request: HttpRequest) -> HttpResponse:
    user, _ = await User.objects.aget_or_create(username=request.POST["user"])
    await alogin(request, user)
    return HttpResponse(status=204)


async def aprofile(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    shown = await sync_to_async(get_state().sessions.of_user)(str(user.pk))
    return JsonResponse({"user": user.get_username(), "devices": len(shown)})


async def alog_out(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse(status=204)


urlpatterns = [
    path("healthz", healthz),
    path("cart/<item>", put_into_cart),
    path("login", log_in),
    path("profile", profile),
    path("devices", devices),
    path("logout", log_out),
    path("api/me", whose_token),
    path("api/logout", revoke),
    path("quote", quote),
    path("async/login", alog_in),
    path("async/profile", aprofile),
    path("async/logout", alog_out),
]
