"""Routes in front of the framework, and pages: bad requests get what the framework says."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, documents, texts, whole_texts
from tests.gateways import client_of
from tests.unit import test_gateway_hot as hot
from tests.unit.test_gateway_hot import ALL, ASK, CHECK

from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

both = hot.both
TOKEN = "admin-token-000001"
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    (CHECK, {"subject": "ip:203.0.113.9", "cost": 1, "wait": 0, "limit": {"rate": "3/second"}}),
    (ALL, {"checks": [{"policy": "api", "subject": "a", "cost": 2}], "wait": 0}),
    (ASK, {"claims": {"sub": "42", "iat": 1, "jti": "x"}}),
    (ASK, {"jti": "gone"}),
    (ASK, {"token": "a.b.c"}),
)
TYPES = (
    "application/json", "application/json; charset=utf-16", "APPLICATION/JSON ;x", "text/plain", "",
    "application/json,text/plain", "application/problem+json", "\xff",
)  # fmt: skip


@st.composite
def asked(draw: st.DrawFn):
    """A hot path, nearly, and a body that is nearly right for it."""
    path, body = draw(st.sampled_from(BODIES))
    content = json.dumps(body).encode()
    values = st.dictionaries(st.sampled_from([*body, "x"]), documents, max_size=2)
    content = draw(
        damaged(content)
        | values.map(lambda other: json.dumps(body | other, allow_nan=True).encode())
        | st.just(content)
    )
    if draw(st.integers(0, 3)) == 0:
        path = path.replace("api", quote(draw(whole_texts), safe="")) + draw(
            st.sampled_from(["", "/", "?x=1", "//", "?", "%00"])
        )
    return path, content, draw(st.sampled_from(TYPES))


@pytest.mark.asyncio(loop_scope="module")
@effort(40)
@given(asked())
async def test_it_is_answered_alike(both, faults, sent):
    path, content, declared = sent
    both.clock.advance(60)
    answer = await both.post(path, content, {"Content-Type": declared.encode("latin-1")})
    assert answer.status_code < 500, answer.text
    faults.assert_none()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages():
    async with client_of(SharedState(from_env({"ARAGORA_ADMIN_TOKEN": TOKEN}))) as client:
        yield client


@pytest.mark.asyncio(loop_scope="module")
@effort(40)
@given(
    st.sampled_from(["", "/login", "/logout", "/lab", "/events", "/static/dashboard.css", "/x"]),
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "TRACE"]),
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(["token", "csrf", "lever", "x"]), whole_texts).map(
        lambda form: "&".join(f"{name}={quote(text)}" for name, text in form.items()).encode()
    )
    | st.just(b"a=1&" * 20),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | damaged(b"1800000000.abc.def"),
    st.dictionaries(st.sampled_from(["since", "id", "x"]), whole_texts, max_size=2),
)
async def test_pages_of_the_dashboard(pages, faults, path, method, body, cookie, query):
    answer = await pages.request(
        method,
        f"/dashboard{path}",
        content=body,
        params=query,
        headers={
            b"Cookie": b"aragora-dashboard=" + cookie.translate(None, b"\r\n\0"),
            b"Last-Event-ID": cookie.translate(None, b"\r\n\0"),
            b"Content-Type": b"application/x-www-form-urlencoded",
        },
    )
    assert answer.status_code < 500 or answer.status_code == 501, answer.text
    faults.assert_none()
