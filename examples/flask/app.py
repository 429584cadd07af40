"""A Flask service with logins, limits, revocable tokens and an upstream that may fail."""

from __future__ import annotations

import os
import time
import uuid
from http import HTTPStatus

import jwt
from flask import Blueprint, Flask, Response, abort, g, jsonify, request

from aragora_redis.sync import SharedState
from aragora_redis.web.flask import (
    Aragora,
    RateLimit,
    RequireToken,
    limited,
    session,
    state,
)

TOKEN_LIFETIME = 900.0

# Browsers send a `__Host-` cookie over HTTPS only; over plain HTTP this must be said.
aragora = Aragora(secure=os.environ.get("EXAMPLE_PLAIN_HTTP") != "1")
api = Blueprint("api", __name__, url_prefix="/api")
api.before_request(RequireToken())


def create_app(shared: SharedState | None = None) -> Flask:
    """The service; its tests give it a state in memory."""
    if shared is None:
        shared = SharedState.from_env()
        shared.start()  # where a server forks its workers after this, it begins anew in each
    app = Flask(__name__)
    aragora.init_app(app, shared)
    app.before_request(RateLimit("api", exempt=["healthz"]))
    app.register_blueprint(api)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/cart/<item>", view_func=put_into_cart, methods=["POST"])
    app.add_url_rule("/login", view_func=login, methods=["POST"])
    app.add_url_rule("/profile", view_func=profile)
    app.add_url_rule("/logout", view_func=logout, methods=["POST"])
    app.add_url_rule("/quote", view_func=quote)
    app.register_error_handler(ConnectionError, bad_gateway)
    return app


def healthz() -> Response:
    return jsonify(status="ok")


def put_into_cart(item: str) -> Response:
    """Works without a login; the cart moves along when there is one."""
    session.setdefault("cart", []).append(item)
    return jsonify(cart=session["cart"])


@limited("api", cost=10)
def login() -> Response:
    """Logs in whoever asks; a real service would ask for a password here."""
    user = request.form["user"]
    session.login(user)
    now = time.time()
    claims = {"jti": uuid.uuid4().hex, "sub": user, "iat": now, "exp": now + TOKEN_LIFETIME}
    secret = state.settings.jwt.secret
    assert secret is not None  # noqa: S101 - RequireToken has refused to work without it
    return jsonify(user=user, token=jwt.encode(claims, secret.reveal(), algorithm="HS256"))


def profile() -> Response:
    if session.user is None:
        abort(HTTPStatus.UNAUTHORIZED)
    session["visits"] = session.get("visits", 0) + 1
    told = {"user": session.user, "cart": session.get("cart", []), "visits": session["visits"]}
    return jsonify(told | {"worker": os.getpid()})


def logout() -> Response:
    """Ends the session for good, also for requests that are still under way."""
    session.end()
    return Response(status=HTTPStatus.NO_CONTENT)


@api.get("/me")
def me() -> Response:
    return jsonify(user=g.token.user)


@api.post("/logout")
def revoke() -> Response:
    """Revokes the token itself: from now on no instance accepts it."""
    receipt = state.tokens.revoke(g.token.id, expires_at=g.token.claims["exp"], reason="logout")
    return jsonify(level=receipt.level.word)


def upstream(*, up: bool) -> str:
    if not up:
        raise ConnectionError("the upstream does not answer")
    return "42"


def quote() -> Response:
    """Spares the upstream while it fails: 502 at first, then 503 at once until it may be tried."""
    with state.circuits["flask-quotes"]:
        return jsonify(quote=upstream(up=request.args.get("up") != "false"))


def bad_gateway(error: ConnectionError) -> Response:
    return Response(str(error), HTTPStatus.BAD_GATEWAY)
