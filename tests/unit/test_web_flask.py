"""Limits, tokens and errors in Flask, over a state in memory."""

from __future__ import annotations

import asyncio
import time

import flask
import jwt
import pytest
from flask import Blueprint, Flask, Response, g, jsonify, request
from flask.views import MethodView, View

from aragora_redis.errors import OutcomeUnknownError, SessionConflictError
from aragora_redis.settings import Settings
from aragora_redis.settings.model import JwtSettings
from aragora_redis.settings.secret import Secret
from aragora_redis.testing import FakeClock
from aragora_redis.testing.sync import memory_state, outage
from aragora_redis.web.flask import (
    Aragora,
    RateLimit,
    RequireToken,
    by_address,
    limited,
    require_token,
    session,
    state,
)

KEY = "k" * 40
POLICIES = """
[limits.api]
rate = "1 per second"
burst = 2
[limits.login]
rate = "1 per minute"
burst = 1
on_outage = "fail-closed"
"""


@pytest.fixture
def here():
    settings = Settings(jwt=JwtSettings(secret=Secret(KEY)))
    made = memory_state(POLICIES, clock=FakeClock(), settings=settings)
    yield made
    made.close()


@pytest.fixture
def app(here):
    made = Flask(__name__)
    made.testing = True
    Aragora(made, here)
    return made


def bearer(scope="", **claims):
    now = time.time()
    given = {"jti": "1", "sub": "42", "iat": now, "exp": now + 3600, "scope": scope} | claims
    return {"Authorization": f"Bearer {jwt.encode(given, KEY, algorithm='HS256')}"}


def test_a_view_is_limited_and_its_clients_are_told(app):
    @app.get("/")
    @limited("api")
    def home():
        return "home"

    client = app.test_client()
    first = client.get("/")
    assert first.headers["RateLimit-Policy"] == '"api";q=2;w=2'
    assert first.headers["RateLimit"] == '"api";r=1;t=1'
    assert client.get("/").status_code == 200
    refused = client.get("/")
    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit"] == '"api";r=0;t=1'
    assert refused.json["type"] == "urn:aragora-redis:limit-exceeded"
    assert "X-RateLimit-Limit" not in refused.headers


def test_a_limit_counts_for_whom_it_is_said_and_not_for_nobody(app):
    @app.get("/")
    @limited("api", subject=lambda: request.args.get("user"), cost=2, x_headers=True)
    def home():
        return "home"

    client = app.test_client()
    assert client.get("/?user=1").headers["X-RateLimit-Remaining"] == "0"
    assert client.get("/?user=1").headers["X-RateLimit-Remaining"] == "0"
    assert client.get("/?user=1").status_code == 429
    assert client.get("/?user=2").status_code == 200
    for _ in range(3):
        uncounted = client.get("/")
        assert uncounted.status_code == 200
        assert "RateLimit" not in uncounted.headers


def test_limits_of_the_application_a_blueprint_and_a_view_are_told_together(app):
    app.before_request(RateLimit("api", exempt=["healthz"]))
    inner = Blueprint("inner", __name__, url_prefix="/inner")
    inner.before_request(RateLimit("login"))

    @inner.get("/")
    def home():
        return "home"

    @app.get("/healthz")
    def healthz():
        return "ok"

    app.register_blueprint(inner)
    client = app.test_client()
    told = client.get("/inner/").headers
    assert told["RateLimit-Policy"] == '"api";q=2;w=2, "login";q=1;w=60'
    refused = client.get("/inner/")
    assert refused.status_code == 429
    assert refused.headers["RateLimit-Policy"].startswith('"login"')
    assert '"api";r=0' in refused.headers["RateLimit"]
    assert client.get("/nowhere").status_code == 429  # who guesses paths is counted too
    for _ in range(4):
        assert client.get("/healthz").status_code == 200


def test_one_text_for_a_list_of_endpoints_is_refused():
    with pytest.raises(TypeError, match="exempt is a list of endpoints"):
        RateLimit("api", exempt="healthz")


def test_what_comes_first_decides_first(app):
    seen = []
    app.before_request(lambda: seen.append("before"))
    app.before_request(RateLimit("login"))
    app.before_request(lambda: seen.append("after"))

    @app.get("/")
    def home():
        seen.append("view")
        return "home"

    client = app.test_client()
    client.get("/")
    client.get("/")
    assert seen == ["before", "after", "view", "before"]


def test_the_log_names_a_limit_that_nobody_has_defined(app, caplog):
    app.add_url_rule("/", view_func=limited("hello")(lambda: "ok"))
    assert app.test_client().get("/").status_code == 500
    assert "there is no limit 'hello': there are 'api', 'login' (define it" in caplog.text


def test_an_address_is_that_of_a_trusted_proxys_client(here):
    app = Flask(__name__)
    Aragora(app, here, trusted_proxies=["10.0.0.0/8"])
    app.add_url_rule("/", view_func=by_address)
    client = app.test_client()

    def asked(peer, forwarded):
        environ = {"REMOTE_ADDR": peer}
        return client.get("/", headers={"X-Forwarded-For": forwarded}, environ_base=environ).text

    assert asked("10.1.2.3", "6.6.6.6, 203.0.113.9") == "ip:203.0.113.9"
    assert asked("203.0.113.1", "6.6.6.6") == "ip:203.0.113.1"
    assert asked("10.1.2.3", "2001:db8::1") == "ip:2001:db8::/64"


def test_an_outage_is_decided_by_the_policy(here, app):
    @app.get("/open")
    @limited("api")
    def is_open():
        return "ok"

    @app.get("/closed")
    @limited("login")
    def is_closed():
        return "ok"

    client = app.test_client()
    with outage(here):
        refused = client.get("/closed")
        assert (refused.status_code, refused.json["ran"]) == (503, "no")
        assert "Redis" not in refused.text
        assert client.get("/open").status_code == 503  # so says ARAGORA_RATE_LIMIT_FAIL_OPEN
    assert client.get("/closed").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ({}, 401, 'Bearer realm="api"'),
        ({"Authorization": "Basic eA=="}, 401, 'Bearer realm="api"'),
        ({"Authorization": "Bearer a b"}, 400, 'error="invalid_request"'),
        ({"Authorization": "Bearer aaa"}, 401, 'error="invalid_token"'),
        (bearer(), 403, 'error="insufficient_scope", scope="orders:read"'),
        (bearer("orders:read"), 200, None),
        (bearer("orders:read", exp=1), 401, 'error="invalid_token"'),
    ],
    ids=["none", "basic", "malformed", "nonsense", "insufficient", "good", "expired"],
)
def test_a_view_demands_a_token(app, headers, status, challenge):
    @app.get("/")
    @require_token("orders:read")
    def home():
        return jsonify(user=g.token.user)

    answer = app.test_client().get("/", headers=headers)
    assert answer.status_code == status
    if challenge is None:
        assert answer.json == {"user": "42"}
    else:
        assert answer.mimetype == "application/problem+json"
        assert challenge in answer.headers["WWW-Authenticate"]


def test_a_revoked_token_is_refused_in_a_whole_blueprint(here, app):
    inner = Blueprint("inner", __name__, url_prefix="/inner")
    inner.before_request(RequireToken())
    inner.add_url_rule("/", view_func=lambda: "home")
    app.register_blueprint(inner)
    client = app.test_client()
    assert client.get("/inner/", headers=bearer()).text == "home"
    here.tokens.revoke("1", expires_at=time.time() + 60)
    with outage(here):
        assert client.get("/inner/", headers=bearer()).status_code == 401


def test_without_a_key_the_service_is_at_fault_and_its_log_says_so(caplog):
    here = memory_state()
    try:
        app = Flask(__name__)
        Aragora(app, here)
        app.add_url_rule("/", view_func=require_token()(lambda: "home"))
        answer = app.test_client().get("/", headers=bearer())
        assert answer.status_code == 500
        assert "ARAGORA" not in answer.text
        assert "ARAGORA_JWT_SECRET" in caplog.text
    finally:
        here.close()


def test_a_limit_by_the_user_of_a_token(app):
    @app.get("/")
    @require_token()
    @limited("login", subject=lambda: f"user:{g.token.user}")
    def home():
        return "home"

    client = app.test_client()
    assert client.get("/", headers=bearer()).status_code == 200
    assert client.get("/", headers=bearer()).status_code == 429
    assert client.get("/", headers=bearer(sub="7")).status_code == 200
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    ("error", "status"),
    [(SessionConflictError("both"), 409), (OutcomeUnknownError("who knows"), 503)],
    ids=["conflict", "unknown"],
)
def test_errors_of_ours_are_problems_and_those_of_others_are_not(app, error, status):
    def fail():
        raise error

    app.add_url_rule("/ours", view_func=fail)
    app.add_url_rule("/others", view_func=lambda: flask.abort(418))
    client = app.test_client()
    answer = client.get("/ours")
    assert (answer.status_code, answer.json["ran"]) == (status, error.ran.value)
    assert client.get("/others").mimetype == "text/html"


def test_an_applications_own_handler_of_everything_leaves_ours_to_us(app):
    @app.errorhandler(Exception)
    def everything(_):
        return "mine", 500

    def fail():
        raise SessionConflictError("both")

    app.add_url_rule("/", view_func=fail)
    assert app.test_client().get("/").status_code == 409


def test_the_state_is_at_hand_in_a_request_and_only_there(app):
    app.add_url_rule("/", view_func=lambda: jsonify(ready=state.ready))
    assert app.test_client().get("/").json == {"ready": True}
    with Flask("other").app_context(), pytest.raises(RuntimeError, match="Aragora"):
        _ = state.ready


def test_coroutines_are_limited_guarded_and_have_their_session(here, app):
    @app.get("/")
    @require_token()
    @limited("api")
    async def home():
        await asyncio.sleep(0)
        session["visits"] = session.get("visits", 0) + 1
        return jsonify(user=g.token.user, visits=session["visits"])

    @app.get("/login")
    async def login():
        await asyncio.to_thread(session.login, "42")
        return "ok"

    @app.get("/plain")
    async def plain():
        return "ok"

    client = app.test_client()
    assert client.get("/", headers=bearer()).json == {"user": "42", "visits": 1}
    assert client.get("/", headers=bearer()).json == {"user": "42", "visits": 2}
    assert client.get("/", headers=bearer()).status_code == 429
    client.get("/login")
    assert len(here.sessions.of_user("42")) == 1
    assert "Vary" not in client.get("/plain").headers
    here.crossing.here.embedded.outage = OutcomeUnknownError("a test")
    assert client.get("/plain").status_code == 200


def test_methods_of_a_class_that_are_coroutines_have_their_session(app):
    class Page(MethodView):
        async def get(self):
            return jsonify(dict(session))

        def post(self):
            return "ok"

    class Whole(View):
        decorators = [limited("api")]  # noqa: RUF012 - as Flask has it

        async def dispatch_request(self):  # type: ignore[override]  # Flask runs these too
            return jsonify(dict(session))

    app.add_url_rule("/page", view_func=Page.as_view("page"))
    app.add_url_rule("/whole", view_func=Whole.as_view("whole"))
    app.add_url_rule("/put", view_func=lambda: session.update(a=1) or "ok")
    client = app.test_client()
    client.get("/put")
    for path in ("/page", "/whole"):
        assert client.get(path).json == {"a": 1}
        assert client.head(path).status_code == 200
    assert "Vary" not in client.post("/page").headers


@pytest.mark.parametrize("decorator", [limited, require_token], ids=["limited", "require_token"])
def test_who_decorates_a_view_without_parentheses_is_told(decorator):
    with pytest.raises(TypeError, match=r"@\w+\("):

        @decorator
        def view():
            return "never"


def test_a_streamed_answer_tells_of_its_limit(app):
    @app.get("/")
    @limited("api")
    def home():
        return Response(iter(["a", "b"]))

    answer = app.test_client().get("/")
    assert (answer.text, answer.headers["RateLimit"]) == ("ab", '"api";r=1;t=1')
