"""What clients may send to a Flask service, what sessions hold there, and what hosts answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
import pytest
from flask import Flask, jsonify
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, texts
from werkzeug.test import EnvironBuilder, run_wsgi_app

from aragora_redis.settings import from_env
from aragora_redis.testing.sync import memory_state
from aragora_redis.web.flask import Aragora, RateLimit, require_token, session
from aragora_redis.web.flask.values import TaggedValues
from aragora_redis.web.httpx.pauses import LONGEST, wanted

NAMES = ("COOKIE", "AUTHORIZATION", "X_FORWARDED_FOR", "USER_AGENT", "ORIGIN")
ENV = {"ARAGORA_JWT_SECRET": "0123456789abcdef" * 4}
TAGS = st.sampled_from([" t", " b", " m", " u", " d", " di", " t__", "name"])

values = texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TAGS, inner, max_size=2),
    max_leaves=8,
)
held = st.recursive(
    plain
    | st.binary(max_size=20)
    | st.uuids()
    | st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - the zone comes with each
        lambda at: at.replace(microsecond=0)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)


def show():
    session["seen"] = session.get("seen", 0) + 1
    return jsonify(user=session.user)


@pytest.fixture(scope="module")
def state():
    made = memory_state('[limits.api]\nrate = "1000000 per second"\n', settings=from_env(ENV))
    yield made
    made.close()


@pytest.fixture(scope="module")
def app(state):
    made = Flask(__name__)
    Aragora(made, state, secure=False, trusted_proxies=["127.0.0.1"])
    made.before_request(RateLimit("api"))
    made.add_url_rule("/open", view_func=show)
    made.add_url_rule("/closed", "closed", view_func=require_token()(show))
    return made


def status_of(app, path, headers):
    """What is answered, as a server asks: with bytes that were sent."""
    environ = EnvironBuilder(path).get_environ() | {"REMOTE_ADDR": "127.0.0.1"}
    environ |= {f"HTTP_{name}": value.decode("latin-1") for name, value in headers.items()}
    answer = run_wsgi_app(app, environ, buffered=True)
    return int(answer[1].split()[0])


@effort(60)
@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        values | values.map(b"session=".__add__) | values.map(b"Bearer ".__add__),
    )
)
def test_any_headers(app, faults, headers):
    assert status_of(app, "/open", headers) == 200
    assert status_of(app, "/closed", headers) in {400, 401}
    faults.assert_none()


@effort(40)
@given(st.data())
def test_a_cookie_that_is_nearly_one(app, state, faults, data):
    made = state.sessions.create(user="42", data={"seen": 7})
    spoilt = data.draw(damaged(state.sessions.cookie(made).encode()))
    assert status_of(app, "/open", {"COOKIE": b"session=" + spoilt}) == 200
    faults.assert_none()


@effort(150)
@given(held)
def test_what_a_session_holds_comes_back_as_it_was(value):
    tags = TaggedValues()
    stored = json.loads(json.dumps(tags.stored({"field": value})))
    assert tags.given(stored) == {"field": value}


@effort(150)
@given(plain)
def test_whatever_another_service_has_stored_can_be_read(value):
    tags = TaggedValues()
    given_back = tags.given({"field": value})
    assert set(given_back) == {"field"}
    tags.stored(given_back)


@effort(100)
@given(st.sampled_from([200, 429, 503]), st.binary(max_size=40) | st.integers().map(str))
def test_any_retry_after(status, said):
    field = said if isinstance(said, bytes) else said.encode()
    response = httpx.Response(status, headers=[(b"Retry-After", field)])
    assert 0 <= wanted(response, 1.8e9) <= LONGEST
