"""What a client may send to a Django project, and what its views may put into a session."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import django_service as service
from tests.django_service import Client, override_settings
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, documents, texts, whole_texts

from aragora_redis.errors import SessionDataError
from aragora_redis.settings import from_env
from aragora_redis.testing.sync import memory_state
from aragora_redis.web.django import state as held
from aragora_redis.web.django.options import options
from aragora_redis.web.django.sessions import SessionStore

POLICIES = """
[limits.api]
rate = "1000000 per second"
[limits.login]
rate = "1000000 per second"
"""
NAMES = ("HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_X_FORWARDED_FOR", "HTTP_USER_AGENT")
PATHS = ("/read", "/put?a=1", "/tight", "/whose", "/flush", "/log_out")


@pytest.fixture(scope="module", autouse=True)
def state():
    settings = from_env({"ARAGORA_JWT_SECRET": "0123456789abcdef" * 4})
    with memory_state(POLICIES, settings=settings) as made:
        before, held._made = held._made, made
        yield made
        held._made = before


@effort(60)
@given(st.dictionaries(texts, documents, max_size=4))
def test_any_session(data):
    """It comes back as Django's own serializer gives it, or is refused with one error."""
    session = SessionStore()
    session.update(data)
    try:
        session.save()
    except SessionDataError as error:
        assert str(error)
        assert session.session_key is None
        return
    found = dict(SessionStore(session.session_key).items())
    assert found == json.loads(json.dumps(data))


def as_sent(text):
    """Servers hand the bytes of a field over as latin-1."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


@effort(80)
@given(st.data())
def test_any_field(data):
    session = SessionStore()
    session["kept"] = 1
    session.save()
    cookie = str(session.session_key).encode()
    sent = data.draw(st.just(cookie) | damaged(cookie)).decode("latin-1")
    fields = data.draw(st.dictionaries(st.sampled_from(NAMES), texts.map(as_sent), max_size=3))
    peer = data.draw(st.sampled_from(["127.0.0.1", "", "::1", "fe80::1%x", "unix:"]))
    path = data.draw(st.sampled_from(PATHS))
    with override_settings(
        ARAGORA={"LIMITS": {"api": {}}, "TRUSTED_PROXIES": ["127.0.0.0/8", "unix"]}
    ):
        answer = Client().get(
            path, REMOTE_ADDR=peer, **{"HTTP_COOKIE": f"sessionid={sent}"} | fields
        )
    assert answer.status_code < 500
    if cookie.decode() == sent and path == "/read" and "HTTP_COOKIE" not in fields:
        assert answer.json() == {"kept": 1}


@effort(40)
@given(st.dictionaries(whole_texts | st.sampled_from(["LIMITS", "TOKENS", "STATE"]), documents))
def test_any_settings(said):
    with override_settings(ARAGORA=said):
        try:
            options()
        except service.ImproperlyConfigured as error:
            assert "ARAGORA" in str(error)
