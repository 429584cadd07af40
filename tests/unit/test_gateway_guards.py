"""What is refused before a route is looked for."""

from __future__ import annotations

import tracemalloc

import pytest

from aragora_redis.errors import SettingsError
from aragora_redis.gateway import guards
from aragora_redis.gateway.auth import AcceptedTokens, Role, is_loopback
from aragora_redis.gateway.guards import default_hosts, refuse_host, refuse_origin
from aragora_redis.settings import GatewaySettings, Secret

GATEWAY, PREVIOUS, ADMIN = "gateway-token-0001", "gateway-token-0000", "admin-token-000001"
SETTINGS = GatewaySettings(
    gateway_tokens=(Secret(GATEWAY), Secret(PREVIOUS)), admin_tokens=(Secret(ADMIN),)
)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback(host, loopback):
    assert is_loopback(host) == loopback


def test_what_no_host_can_be_is_remembered_by_nobody():
    long = "a" * 1_000_000
    seen = guards._read_authority.cache_info().misses
    assert refuse_host(long, default_hosts("127.0.0.1")) is not None
    assert refuse_origin("POST", f"http://{long}", long) is not None
    assert guards._read_authority.cache_info().misses == seen


@pytest.mark.parametrize(
    ("bound", "host", "served"),
    [
        ("127.0.0.1", "127.0.0.1:8080", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "LOCALHOST:8080", True),
        ("127.0.0.1", "[::1]:8080", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "localhost@evil.example", False),
        ("127.0.0.1", "localhost/x", False),
        ("127.0.0.1", "localhost:port", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", None, False),
        ("gateway.internal", "Gateway.Internal:80", True),
        ("gateway.internal", "evil.example", False),
        ("0.0.0.0", "gateway.svc:8080", True),  # noqa: S104
        ("::", None, True),
        ("[::]", "gateway.svc:8080", True),
        ("::0", "gateway.svc:8080", True),
    ],
)
def test_host(bound, host, served):
    problem = refuse_host(host, default_hosts(bound))
    assert (problem is None) == served
    assert problem is None or problem.status == 421


@pytest.mark.parametrize(
    ("method", "origin", "host", "served"),
    [
        ("POST", None, "localhost:8080", True),
        ("POST", "http://localhost:8080", "localhost:8080", True),
        ("POST", "https://gateway.example", "gateway.example", True),
        ("POST", "https://gateway.example:443", "gateway.example", True),
        ("POST", "http://localhost:3000", "localhost:8080", False),
        ("POST", "http://evil.example", "localhost:8080", False),
        ("POST", "null", "localhost:8080", False),
        ("POST", "", "localhost:8080", False),
        ("DELETE", "http://evil.example", "localhost:8080", False),
        ("GET", "http://evil.example", "localhost:8080", True),
    ],
)
def test_origin(method, origin, host, served):
    problem = refuse_origin(method, origin, host)
    assert (problem is None) == served
    assert problem is None or problem.status == 403


@pytest.mark.parametrize(
    ("header", "role"),
    [
        (f"Bearer {GATEWAY}", Role.GATEWAY),
        (f"Bearer {PREVIOUS}", Role.GATEWAY),
        (f"bearer  {ADMIN}", Role.ADMIN),
        (f"Basic {ADMIN}", None),
        (ADMIN, None),
        ("Bearer", None),
        ("Bearer ", None),
        (f"Bearer {ADMIN}x", None),
        ("Bearer \xe9", None),
        ("", None),
        (None, None),
    ],
)
def test_role(header, role):
    assert AcceptedTokens(SETTINGS).role_of(header) == role


def test_a_token_of_both_kinds_is_the_admins():
    both = GatewaySettings(gateway_tokens=(Secret(ADMIN),), admin_tokens=(Secret(ADMIN),))
    assert AcceptedTokens(both).role_of(f"Bearer {ADMIN}") is Role.ADMIN


def test_without_tokens_this_machine_may_do_everything():
    tokens = AcceptedTokens(GatewaySettings(host="127.0.0.1"))
    assert not tokens.required
    assert tokens.role_of(None) is Role.ADMIN


def test_without_tokens_nobody_else_is_let_in():
    with pytest.raises(SettingsError, match="ARAGORA_GATEWAY_TOKEN and ARAGORA_ADMIN_TOKEN"):
        AcceptedTokens(GatewaySettings(host="0.0.0.0"))  # noqa: S104 - that is refused


def test_with_only_the_gateways_token_nobody_is_admin():
    tokens = AcceptedTokens(GatewaySettings(gateway_tokens=(Secret(GATEWAY),)))
    assert tokens.role_of(f"Bearer {GATEWAY}") is Role.GATEWAY
    assert tokens.role_of(None) is None


async def test_a_body_of_many_parts_takes_no_more_than_its_bytes():
    many = 20_000
    parts = iter([{"type": "http.request", "body": b"x", "more_body": True}] * many)
    end = {"type": "http.request", "body": b"y", "more_body": False}

    async def receive():
        return dict(next(parts, end))

    tracemalloc.start()
    try:
        read = await guards._read(receive, many + 1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read is not None
    assert read["body"] == b"x" * many + b"y"
    assert most < 10 * many
    parts = iter([{"type": "http.request", "body": b"x", "more_body": True}] * many)
    assert await guards._read(receive, many) is None


async def test_who_goes_away_in_the_middle_of_a_body_has_asked_nothing():
    said = iter(
        [{"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive():
        return next(said)

    assert await guards._read(receive, 100) == {"type": "http.disconnect"}
