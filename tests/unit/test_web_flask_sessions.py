"""`flask.session` over a state in memory."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, timezone

import flask
import pytest
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from markupsafe import Markup

from aragora_redis.errors import InvalidInputError, OutageError, SessionDataError
from aragora_redis.sessions.client import Client
from aragora_redis.settings import Settings
from aragora_redis.settings.model import SessionSettings
from aragora_redis.testing import FakeClock
from aragora_redis.testing.sync import memory_state, outage
from aragora_redis.web.cookie import Cookie, Lasting
from aragora_redis.web.flask import Aragora, session
from aragora_redis.web.flask.values import TaggedValues
from aragora_redis.web.session import Values
from aragora_redis.web.threaded_session import Handed, ThreadedSession

COOKIE = "__Host-session"


@pytest.fixture
def state():
    made = memory_state(clock=FakeClock())
    yield made
    made.close()


@pytest.fixture
def crossings(state, monkeypatch):
    """What crossed into the loop, by what of the session was called."""
    found = []
    cross = state.crossing.cross

    def counted(work, within, **more):
        found.append(work)
        return cross(work, within, **more)

    monkeypatch.setattr(state.crossing, "cross", counted)
    return found


class Gate:
    """Holds requests up until the test opens it."""

    def __init__(self, expected=1):
        self._arrivals = threading.Barrier(expected + 1, timeout=10)
        self._opened = threading.Event()

    def pass_through(self):
        self._arrivals.wait()
        assert self._opened.wait(10)

    @contextmanager
    def held(self):
        """What happens while all that are expected are held up."""
        self._arrivals.wait()
        yield
        self._opened.set()


def read():
    return jsonify(dict(session) | {"user": session.user})


def put():
    session.update(request.args)
    return "ok"


def slow():
    assert "start" in session  # it is read before the others write
    current_app.extensions["gate"].pass_through()
    session.update(request.args)
    return "ok"


def append():
    session.setdefault("items", []).append(1)
    return "ok"


def clear():
    session.clear()
    return "ok"


def login():
    session["at"] = "login"
    session.login(request.args.get("user", "42"))
    session["after"] = "login"
    return "ok"


def rotate():
    session.rotate()
    return "ok"


def end():
    session.end()
    return "ok"


def plain():
    return "ok"


def wrong():
    session["x"] = object()
    return "ok"


VIEWS = (read, put, slow, append, clear, login, rotate, end, plain, wrong)


def service(state, *, configure=(), **options):
    """An application with a view for each thing to do with a session."""
    app = Flask(__name__)
    app.testing = True
    app.config.update(configure)
    Aragora(app, state, **options)
    for view in VIEWS:
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    return app


def cookie_of(answer):
    return answer.headers.get("Set-Cookie")


def test_no_session_begins_before_something_is_put_into_it(state, crossings):
    client = service(state).test_client()
    for path in ("/plain", "/read", "/clear", "/rotate"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert cookie_of(answer) is None or path == "/clear"
    assert client.get("/read").headers["Vary"] == "Cookie"
    crossings.clear()
    assert "Vary" not in client.get("/plain").headers
    assert crossings == []


def test_what_is_put_is_read_back_and_a_request_that_does_not_touch_it_asks_nobody(
    state, crossings
):
    client = service(state).test_client()
    first = cookie_of(client.get("/put?a=1"))
    assert first.startswith(f"{COOKIE}=")
    assert set(first.split("; ")[1:]) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}
    read = client.get("/read")
    assert read.json == {"a": "1", "user": None}
    assert cookie_of(read) is None
    client.get("/append")
    client.get("/append")
    assert client.get("/read").json == {"a": "1", "items": [1, 1], "user": None}
    crossings.clear()
    answer = client.get("/plain")
    assert "Vary" not in answer.headers
    assert crossings == []


def at_once(app, paths, **cookies):
    """The answers to requests that begin before any of them writes."""
    gate = app.extensions["gate"] = Gate(len(paths))

    def ask(path):
        client = app.test_client()
        for name, value in cookies.items():
            client.set_cookie(name, value)
        return client.get(path)

    with ThreadPoolExecutor(len(paths)) as pool:
        asked = [pool.submit(ask, path) for path in paths]
        with gate.held():
            pass
        return [each.result() for each in asked]


def test_requests_at_once_lose_nothing_of_each_other(state):
    app = service(state)
    client = app.test_client()
    client.get("/put?start=1")
    kept = client.get_cookie(COOKIE).value
    answers = at_once(app, [f"/slow?f{n}={n}" for n in range(8)], **{COOKIE: kept})
    assert [answer.status_code for answer in answers] == [200] * 8
    assert {f"f{n}" for n in range(8)} <= set(client.get("/read").json)


@pytest.mark.parametrize(
    ("on_conflict", "status", "left"), [("refuse", 409, "2"), ("overwrite", 200, "1")]
)
def test_two_changes_of_one_field(state, on_conflict, status, left):
    app = service(state, on_conflict=on_conflict)
    gate = app.extensions["gate"] = Gate()
    client, other = app.test_client(), app.test_client()
    client.get("/put?start=1&a=0")
    other.set_cookie(COOKIE, client.get_cookie(COOKIE).value)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(other.get, "/slow?a=1")
        with gate.held():
            client.get("/put?a=2")
        answer = slow.result()
    assert answer.status_code == status
    if status == 409:
        assert answer.mimetype == "application/problem+json"
        assert answer.json["ran"] == "no"
        assert cookie_of(answer) is None
        assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert client.get("/read").json["a"] == left


def test_a_slow_request_cannot_bring_a_session_back(state):
    app = service(state)
    gate = app.extensions["gate"] = Gate()
    client, other = app.test_client(), app.test_client()
    client.get("/put?start=1")
    client.get("/login")
    other.set_cookie(COOKIE, client.get_cookie(COOKIE).value)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(other.get, "/slow?a=1")
        with gate.held():
            client.get("/end")
        answer = slow.result()
    assert (answer.status_code, cookie_of(answer)) == (200, None)
    assert other.get("/read").json == {"user": None}


def test_a_login_moves_the_data_along_under_another_id_and_the_one_before_opens_nothing(state):
    client = service(state).test_client()
    client.get("/put?cart=book")
    before = client.get_cookie(COOKIE).value
    client.get("/login")
    assert client.get_cookie(COOKIE).value != before
    told = client.get("/read").json
    assert told == {"cart": "book", "at": "login", "after": "login", "user": "42"}
    planted = service(state).test_client()
    planted.set_cookie(COOKIE, before)
    assert planted.get("/read").json == {"user": None}


def test_another_users_login_takes_nothing_along(state):
    client = service(state).test_client()
    client.get("/login?user=1")
    client.get("/put?secret=1")
    client.get("/login?user=2")
    assert client.get("/read").json == {"after": "login", "user": "2"}


def test_rotation_keeps_the_data_and_logout_is_for_good(state):
    client = service(state).test_client()
    client.get("/login")
    before = client.get_cookie(COOKIE).value
    client.get("/rotate")
    rotated = client.get_cookie(COOKIE).value
    assert rotated != before
    assert client.get("/read").json["user"] == "42"
    assert "Max-Age=0" in cookie_of(client.get("/end"))
    for kept in (before, rotated):
        client.set_cookie(COOKIE, kept)
        assert client.get("/read").json == {"user": None}


def test_all_others_of_a_user_are_ended_and_this_one_lives(state):
    app = service(state)

    @app.route("/others")
    def others():
        return jsonify(listed=len(session.of_user()), ended=session.end_others())

    first, second = app.test_client(), app.test_client()
    first.get("/login")
    second.get("/login")
    assert first.get("/others").json == {"listed": 2, "ended": 1}
    assert first.get("/read").json["user"] == "42"
    assert second.get("/read").json == {"user": None}


def test_what_flask_keeps_in_its_own_sessions_comes_back_as_it_was(state):
    app = service(state)
    at, each = datetime(2026, 11, 29, 12, tzinfo=UTC), uuid.uuid4()

    @app.route("/fill")
    def fill():
        flask.flash("saved", "info")
        session.update(at=at, each=each, raw=b"\0", pair=(1, [2, (3,)]), odd={" t": [1]})
        session["markup"] = Markup("<b>")
        return "ok"

    @app.route("/look")
    def look():
        assert flask.get_flashed_messages(with_categories=True) == [("info", "saved")]
        assert (session["at"], session["each"], session["raw"]) == (at, each, b"\0")
        assert (session["pair"], session["odd"]) == ((1, [2, (3,)]), {" t": [1]})
        assert session["markup"] == "<b>"
        assert not isinstance(session["markup"], Markup)
        return "ok"

    client = app.test_client()
    assert client.get("/fill").status_code == 200
    assert client.get("/look").status_code == 200
    with client.session_transaction() as found:
        assert "_flashes" not in found
        found["pair"] = (4,)
    with client.session_transaction() as found:
        assert found["pair"] == (4,)


@pytest.mark.parametrize("held", [{" u": "none"}, {" b": 7}, {" d": []}, {" di": {}}], ids=str)
def test_what_another_service_keeps_is_given_as_it_is_where_it_only_looks_like_a_tag(state, held):
    client = service(state).test_client()
    stored = state.sessions.create(data={"field": held})
    client.set_cookie(COOKIE, state.sessions.cookie(stored))
    answer = client.get("/read")
    assert answer.status_code == 200
    assert "field" in answer.json


@pytest.mark.parametrize(
    "cookie", ["", "x", "a.1.AAAAAAAAAAAAAAAAAAAAAA", "x" * 9000, "\udcff", "é.1.2"], ids=ascii
)
def test_a_cookie_that_nobody_has_given_is_no_session(state, cookie):
    client = service(state).test_client()
    header = f"{COOKIE}={cookie}".encode("utf-8", "surrogateescape").decode("latin-1")
    answer = client.get("/read", headers={"Cookie": header})
    assert (answer.status_code, answer.json) == (200, {"user": None})
    assert cookie_of(answer) is None


def test_what_json_has_not_is_refused_and_told_in_the_log(state, caplog):
    answer = service(state).test_client().get("/wrong")
    assert answer.status_code == 422
    assert "the session of a request is not written" in caplog.text


def test_an_outage_fails_the_requests_that_touch_a_session_and_no_others(state):
    app = service(state)
    client = app.test_client()
    client.get("/login")
    with outage(state):
        assert client.get("/plain").status_code == 200
        assert client.get("/read").json["user"] == "42"  # a copy of the last seconds
        answer = client.get("/put?a=1")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.json["ran"] == "no"
        assert cookie_of(answer) is None
    assert client.get("/put?a=1").status_code == 200


def test_an_outage_where_copies_are_denied():
    state = memory_state(settings=Settings(sessions=SessionSettings(on_outage="deny")))
    try:
        app = service(state)
        client = app.test_client()

        @app.route("/without")
        def without():
            try:
                return str(session.user)
            except OutageError:
                return "a page without a user"

        client.get("/login")
        with outage(state):
            answer = client.get("/read")
            assert (answer.status_code, answer.json["ran"]) == (503, "no")
            assert client.get("/without").text == "a page without a user"
    finally:
        state.close()


def test_a_logout_in_an_outage_holds(state):
    app = service(state)
    client = app.test_client()
    client.get("/login")
    kept = client.get_cookie(COOKIE).value
    with outage(state):
        answer = client.get("/end")
        assert answer.status_code == 200
        assert "Max-Age=0" in cookie_of(answer)
        client.set_cookie(COOKIE, kept)
        assert client.get("/read").json == {"user": None}
    client.set_cookie(COOKIE, kept)
    assert client.get("/read").json == {"user": None}


@pytest.mark.parametrize(
    ("configure", "options", "cookie"),
    [
        ({}, {"secure": False}, "session=*; HttpOnly; Path=/; SameSite=Lax"),
        (
            {"SESSION_COOKIE_NAME": "mine", "SESSION_COOKIE_SAMESITE": "Strict"},
            {},
            "mine=*; Secure; HttpOnly; Path=/; SameSite=Strict",
        ),
        (
            {"SESSION_COOKIE_DOMAIN": "example.org"},
            {},
            "session=*; Domain=example.org; Secure; HttpOnly; Path=/; SameSite=Lax",
        ),
        (
            {"SESSION_COOKIE_PATH": "/app"},
            {},
            "session=*; Secure; HttpOnly; Path=/app; SameSite=Lax",
        ),
        (
            {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "None"},
            {"secure": False},
            "__Host-session=*; Secure; HttpOnly; Path=/; SameSite=None",
        ),
    ],
    ids=["plain", "named", "domain", "path", "none"],
)
def test_the_cookie_is_as_flask_is_configured(state, configure, options, cookie):
    client = service(state, configure=configure, **options).test_client()
    name, _, rest = cookie.partition("=*")
    sent = cookie_of(client.get("/put?a=1"))
    assert sent.startswith(f"{name}=")
    assert sent.partition(";")[1] + sent.partition(";")[2] == rest


@pytest.mark.parametrize(
    ("configure", "options"),
    [
        ({"SESSION_COOKIE_NAME": "__Host-x"}, {"secure": False}),
        ({"SESSION_COOKIE_NAME": "__Host-x", "SESSION_COOKIE_PATH": "/app"}, {}),
        ({"SESSION_COOKIE_NAME": "__Host-x", "SESSION_COOKIE_DOMAIN": "example.org"}, {}),
        ({"SESSION_COOKIE_SAMESITE": "None"}, {"secure": False}),
        ({"SESSION_COOKIE_SAMESITE": "Sometimes"}, {}),
    ],
    ids=["plain", "path", "domain", "none", "unknown"],
)
def test_a_cookie_that_browsers_would_drop_is_refused_at_once(state, configure, options):
    with pytest.raises(InvalidInputError):
        service(state, configure=configure, **options)


def test_a_permanent_session_keeps_its_cookie_and_gets_it_anew_in_time():
    clock = FakeClock()
    policies = '[sessions]\nidle = "2 hours"\nabsolute = "12 hours"\n'
    state = memory_state(policies, clock=clock)
    try:
        app = service(state, configure={"PERMANENT_SESSION_LIFETIME": timedelta(hours=1)})

        @app.route("/stay")
        def stay():
            session.permanent = True
            session.login("42")
            return "ok"

        client = app.test_client()
        assert "Max-Age=3600" in cookie_of(client.get("/stay"))
        clock.advance(1000)
        assert cookie_of(client.get("/read")) is None
        clock.advance(1000)
        assert cookie_of(client.get("/plain")) is None
        assert "Max-Age=3600" in cookie_of(client.get("/read"))
        app.config["SESSION_REFRESH_EACH_REQUEST"] = False
        clock.advance(2000)
        assert cookie_of(client.get("/read")) is None
    finally:
        state.close()


def test_new_and_modified_are_as_they_are(state):
    app = service(state)
    client = app.test_client()

    @app.route("/look")
    def look():
        before = (session.new, session.modified)
        session.setdefault("items", []).append(1)
        session.modified = True
        return jsonify(before, [session.new, session.modified])

    assert client.get("/look").json == [[True, False], [True, True]]
    assert client.get("/look").json == [[False, False], [False, True]]


@pytest.mark.parametrize("touched", [False, True], ids=["by the body", "by the view"])
def test_a_streamed_answer_has_the_session_and_begins_none(state, touched):
    app = service(state)
    client = app.test_client()

    @app.route("/stream")
    def stream():
        assert not touched or session.user is None

        def parts():
            yield session.get("a", "nobody")
            if "a" not in session:
                with pytest.raises(InvalidInputError):
                    session["late"] = 1
                return
            session["late"] = 1
            session.save()

        return Response(flask.stream_with_context(parts()))

    assert client.get("/stream").text == "nobody"
    client.get("/put?a=1")
    assert client.get("/stream").text == "1"
    assert client.get("/read").json["late"] == 1


def test_a_login_that_waits_for_the_writing_of_the_answer_gives_no_id_after_it(state, monkeypatch):
    made = state.sessions.create("42", {"a": 1})
    cookie = state.sessions.cookie(made)
    there = ThreadedSession(state, cookie, overwrite=False, client=Client(), values=Values())
    there["a"] = 2
    executor = state.crossing.here.embedded
    run, saving, may = executor.run, threading.Event(), threading.Event()

    async def slowly(operation, **more):
        saving.set()
        while not may.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.001)
        return await run(operation, **more)

    monkeypatch.setattr(executor, "run", slowly)
    with ThreadPoolExecutor(2) as pool:
        handed = pool.submit(there.hand_over, Lasting(None))
        assert saving.wait(10)
        late = pool.submit(there.login, "42")
        while not there._touched._writing._waiters:
            time.sleep(0.001)
        may.set()
        assert handed.result().becomes is Cookie.SET
        with pytest.raises(InvalidInputError, match="no cookie"):
            late.result()
    assert state.sessions.get(made.id).data == {"a": 2}


def test_two_threads_of_a_request_that_touch_it_first_at_once_share_it(state):
    there = ThreadedSession(state, None, overwrite=False, client=Client(), values=Values())
    make, both, first = there._make, threading.Barrier(2), threading.Event()

    def made_at_once():
        made = make()
        if both.wait(10) == 0:
            assert first.wait(10)
        return made

    def put(name):
        there[name] = 1
        first.set()

    there._make = made_at_once
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(put, name) for name in ("a", "b")]:
            each.result()
    assert dict(there) == {"a": 1, "b": 1}


def test_what_is_put_in_the_place_of_an_answer_closes_it_and_keeps_what_others_have_said(state):
    app = service(state)
    closed = []

    class Body:
        def __iter__(self):
            yield b"never sent"

        def close(self):
            closed.append(True)

    @app.route("/stream")
    def stream():
        session["x"] = object()
        return Response(Body(), headers={"ETag": '"1"', "Location": "/x", "X-Kept": "yes"})

    @app.after_request
    def cors(response):
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    answer = app.test_client().get("/stream")
    assert answer.status_code == 422
    assert closed == [True]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert not {"ETag", "Location"} & set(answer.headers.keys())


@pytest.mark.parametrize("status", [422, 503])
@pytest.mark.parametrize("change", ["login", "rotate"])
def test_a_new_id_reaches_the_client_though_what_came_after_it_is_not_written(
    state, change, status
):
    app = service(state)
    made = state.sessions.create(data={"a": 1})

    @app.route("/change")
    def changed():
        if change == "login":
            session.login("42")
        else:
            session.rotate()
        session["a"] = object() if status == 422 else 2
        if status == 503:
            away.enter_context(outage(state))
        return Response("ok", headers={"Set-Cookie": "theme=dark"})

    client = app.test_client()
    client.set_cookie(COOKIE, state.sessions.cookie(made))
    with ExitStack() as away:
        answer = client.get("/change")
    assert answer.status_code == status
    assert [each.partition("=")[0] for each in answer.headers.getlist("Set-Cookie")] == [COOKIE]
    found = state.sessions.of_cookie(client.get_cookie(COOKIE).value)
    assert (found.user, found.data) == ("42" if change == "login" else None, {"a": 1})
    assert found.id != made.id


def test_two_applications_on_one_state_share_its_sessions(state):
    one, two = service(state).test_client(), service(state).test_client()
    one.get("/login")
    two.set_cookie(COOKIE, one.get_cookie(COOKIE).value)
    assert two.get("/read").json["user"] == "42"
    two.get("/end")
    assert one.get("/read").json == {"user": None}


def test_sessions_can_be_left_to_flask(state):
    app = Flask(__name__)
    app.secret_key = "k" * 40
    Aragora(app, state, sessions=False)

    @app.route("/")
    def put():
        flask.session["a"] = 1
        return "ok"

    assert cookie_of(app.test_client().get("/")).startswith("session=ey")


def test_an_application_is_made_at_home_once_and_with_its_state(state):
    app = Flask(__name__)
    with pytest.raises(TypeError):
        Aragora(app)
    extension = Aragora()
    extension.init_app(app, state)
    with pytest.raises(RuntimeError):
        extension.init_app(app, state)


def test_a_session_in_a_blueprint_is_touched_before_its_view(state):
    app = service(state)
    inner = Blueprint("inner", __name__, url_prefix="/inner")

    @inner.before_request
    def require_login():
        return None if session.user else ("log in first", 401)

    @inner.route("/")
    def home():
        return "home"

    app.register_blueprint(inner)
    client = app.test_client()
    assert client.get("/inner/").status_code == 401
    client.get("/login")
    assert client.get("/inner/").text == "home"
    with outage(state):
        assert client.get("/inner/").status_code == 200


def test_before_the_state_is_started_a_request_that_touches_the_session_is_told(state):
    app = service(state)
    client = app.test_client()
    state.close()
    assert client.get("/plain").status_code == 200
    answer = client.get("/read")
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")


def test_the_client_of_a_session_is_where_its_login_came_from(state):
    app = service(state, trusted_proxies=["10.0.0.0/8"])
    client = app.test_client()
    client.get(
        "/login",
        headers={"User-Agent": "Firefox", "X-Forwarded-For": "6.6.6.6, 203.0.113.9"},
        environ_base={"REMOTE_ADDR": "10.1.2.3"},
    )
    (info,) = state.sessions.of_user("42")
    assert (info.device, info.address) == ("Firefox", "203.0.113.9")


def test_what_becomes_of_a_cookie_is_told_without_its_value():
    assert "opens" not in repr(Handed(Cookie.SET, "opens-the-session", None))


@pytest.mark.parametrize("text", ["Thu, 01 Jan 1970 00:00:00 +99999999999999999999"])
def test_a_value_of_another_service_that_is_no_tag_stays_what_it_is(text):
    values = TaggedValues()
    assert values.given({"at": {" d": text}}) == {"at": {" d": text}}


def test_a_time_that_cannot_be_written_is_refused_as_data():
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    with pytest.raises(SessionDataError, match="cannot be written"):
        TaggedValues().stored({"at": first})
