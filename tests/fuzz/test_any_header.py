"""Cookies, addresses and tokens that a client may send to a service with our middleware."""

from __future__ import annotations

import ipaddress

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, texts

from aragora_redis.policies import parse_policies
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState
from aragora_redis.web.client_address import client_address, proxies, subject_of
from aragora_redis.web.forwarded import forwarded_for
from aragora_redis.web.starlette import RateLimitMiddleware, SessionMiddleware, TokenMiddleware

TRUSTED = proxies(["127.0.0.0/8", "::1", "10.0.0.0/8", "fd00::/8"])
ADDRESSES = (
    "127.0.0.1", "10.1.2.3", "::1", "::ffff:10.0.0.1", "fd00::1%eth0", "203.0.113.9", "2001:db8::1",
    "010.0.0.1", "10.1", "0x7f.1", "127.0.0.1:80", "[::1]", "[::1]:80", "unknown", "_hidden", "",
)  # fmt: skip
NAMES = (
    b"cookie", b"authorization", b"x-forwarded-for", b"forwarded", b"user-agent", b"origin",
    b"host",
)  # fmt: skip
POLICIES = '[limits.api]\nrate = "1000000 per second"\n'
ENV = {"ARAGORA_JWT_SECRET": "0123456789abcdef" * 4}

addresses = st.sampled_from(ADDRESSES) | texts
values = texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60)


@effort(150)
@given(st.none() | addresses, st.lists(addresses.map(str) | st.just(", ,"), max_size=4))
def test_any_address(peer, forwarded):
    found = client_address(peer, forwarded, TRUSTED)
    if found is None:
        assert not peer
        return
    subject_of(found)
    if found != peer:  # then it is an address, and every one behind it is a trusted proxy's
        ipaddress.ip_address(found)
        ipaddress.ip_address(peer)


@effort(150)
@given(st.lists(st.text(max_size=40) | st.text('for=;," \\[]:1.', max_size=40), max_size=4))
def test_any_forwarded_field(values):
    told = forwarded_for(values)
    assert all(isinstance(each, str) for each in told)
    # What a proxy adds in a field of its own is what it says, whatever stands in front.
    assert forwarded_for([*values, "for=203.0.113.9"])[-1] == "203.0.113.9"


@effort(60)
@given(st.sampled_from(ADDRESSES[:3]), st.lists(addresses, max_size=3))
def test_what_a_client_writes_in_front_changes_nothing(proxy, written):
    assert client_address(proxy, [*written, "203.0.113.9"], TRUSTED) == "203.0.113.9"


async def show(request):
    request.session["seen"] = request.session.get("seen", 0) + 1
    return JSONResponse(getattr(request.state, "claims", None))


class Service:
    """A service with all middleware, called as a server calls it: by what has been sent."""

    def __init__(self, state):
        self.state = state
        app: ASGIApp = Starlette(routes=[Route("/open", show), Route("/closed", show)])
        app = SessionMiddleware(app, state=state, secure=False, trusted_proxies=["127.0.0.1"])
        app = TokenMiddleware(app, state=state, exempt=["/open"])
        self.app = RateLimitMiddleware(app, state=state, policy="api")

    async def get(self, path: str, *headers: tuple[bytes, bytes]):
        """Status and headers of the answer."""
        told = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            told.append(message)

        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": path,
            "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"",
            "headers": list(headers), "client": ("127.0.0.1", 1), "server": ("service", 80),
            "state": {},
        }  # fmt: skip
        await self.app(scope, receive, send)
        return told[0]["status"], dict(told[0]["headers"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service():
    policies = parse_policies(POLICIES, source="x")
    async with SharedState(from_env(ENV), policies=policies) as state:
        yield Service(state)


@pytest.mark.asyncio(loop_scope="module")
@effort(80)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            values | values.map(b"session=".__add__) | values.map(b"Bearer ".__add__),
        ),
        max_size=5,
    )
)
async def test_any_headers(service, faults, headers):
    assert (await service.get("/open", *headers))[0] == 200
    assert (await service.get("/closed", *headers))[0] in {400, 401}
    faults.assert_none()


@pytest.mark.asyncio(loop_scope="module")
@effort(60)
@given(st.data())
async def test_a_cookie_that_is_nearly_one(service, faults, data):
    made = await service.state.sessions.create(user="42", data={"seen": 7})
    cookie = service.state.sessions.cookie(made)
    spoilt = data.draw(damaged(cookie.encode()))
    found = await service.state.sessions.of_cookie(spoilt.decode("latin-1"))
    # An id may come without the witness; nothing else opens it.
    assert found is None or spoilt.decode("latin-1").startswith(made.id)
    status, _ = await service.get("/open", (b"cookie", b"session=" + spoilt))
    assert status == 200
    faults.assert_none()
