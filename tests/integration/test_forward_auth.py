"""Forward-auth through real proxies: who is let in, what each side is told, and what is forged."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import partial
from urllib.parse import unquote

import httpx
import pytest
import yaml
from tests.integration.forward_auth import (
    FILES,
    KINDS,
    PUBLIC,
    Site,
    bearer,
    connections,
    found,
    raw,
    service,
    until,
)
from tests.integration.past import give_past

from aragora_redis.gateway.authz import IDENTITY, Asked, asked_in
from aragora_redis.lab import Lab

MUST = os.environ.get("CI") == "true" and os.geteuid() == 0
"""There they can be had."""
HERE = [name for name in KINDS if found(name) or MUST]
FORGED = {
    "X-Aragora-User": "root",
    "X-Aragora-Scope": "admin",
    "X-Forwarded-For": "198.51.100.1",
    "X-Real-IP": "198.51.100.1",
    "Forwarded": "for=198.51.100.1",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("forward-auth")
    lab = Lab.create(directory / "lab", "standalone", ports="free")
    lab.start()
    try:
        give_past(lab)
        with service() as port:
            site = Site(directory, lab, port)
            try:
                yield site
            finally:
                site.stop()
    finally:
        lab.stop()


@pytest.fixture(params=KINDS)
def proxy(request, site):
    if request.param not in HERE:
        pytest.skip(f"no {request.param} here: scripts/proxies gets it")
    return site.proxy(request.param)


@pytest.fixture
def client(site, proxy):
    """A client with an address of its own."""
    with proxy.client(site.address()) as client:
        yield client


def reached(answer):
    """What has reached the service, by the names of the fields."""
    assert answer.status_code == 200, answer.text
    told = answer.json()
    names = [name for name, _ in told["fields"]]
    return {"path": told["path"], "size": told["size"], "names": names} | dict(told["fields"])


def test_a_user_is_named_to_the_service_and_counted(site, client):
    user = site.user()
    sent = bearer(user, scope="read write") | FORGED
    for left in (2, 1, 0):
        answer = client.get("/orders?page=1", headers=sent)
        got = reached(answer)
        assert (got["x-aragora-user"], got["x-aragora-scope"]) == (user, "read write")
        assert [got["names"].count(name.lower()) for name in IDENTITY] == [1, 1]
        assert got["path"] == "/orders?page=1"
        assert got["authorization"] == sent["Authorization"]
        assert answer.headers["RateLimit"].startswith(f'"api";r={left};')
        assert answer.headers["RateLimit-Policy"] == '"api";q=3;w=3600'
    refused = client.post("/orders", headers=sent, content=b"order")
    assert refused.status_code == 429
    assert 60 < int(refused.headers["Retry-After"]) <= 1200
    assert refused.headers["RateLimit"].startswith('"api";r=0;')
    assert refused.headers["RateLimit-Policy"] == '"api";q=3;w=3600'
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["status"] == 429
    assert not [name for name in refused.headers if name.startswith("x-aragora")]
    reached(client.get("/orders", headers=bearer(site.user())))


@pytest.mark.parametrize("length", [300, 1000])
def test_an_identity_is_told_whole_or_its_request_is_refused(client, length):
    """What a proxy has no room for it would take for an answer that is none, or leave out."""
    user = "\N{HIRAGANA LETTER A}" * length
    answer = client.get("/", headers=bearer(user, jti=user[:9], scope="a" * 2000))
    if length > 300 and answer.status_code >= 400:
        return
    got = reached(answer)
    assert unquote(got["x-aragora-user"]) == user
    assert got["x-aragora-scope"] == "a" * 2000


@pytest.mark.parametrize("forged", ["X_Aragora_User", "X-Aragora_User", "x_aragora-scope"])
def test_no_spelling_of_an_identity_reaches_the_service(site, client, forged):
    for path, sent in (("/", bearer(site.user())), ("/public/", {})):
        answer = client.get(path, headers={**sent, forged: "root"})
        if answer.status_code == 400:  # that is an answer too
            continue
        values = [value for _, value in answer.json()["fields"]]
        assert answer.status_code == 200
        assert "root" not in values


def test_what_a_client_names_as_for_one_hop_is_told_all_the_same(site, client):
    """A proxy leaves such fields out (RFC 9110, section 7.6.1), but not those that it adds."""
    user = site.user()
    hop = {"Connection": "keep-alive, X-Aragora-User, X-Forwarded-For, Authorization"}
    answer = client.get("/", headers=bearer(user) | hop)
    if answer.status_code != 400:  # as Envoy says
        assert reached(answer)["x-aragora-user"] == user
    for _ in range(PUBLIC):
        reached(client.get("/public/"))
    assert client.get("/public/", headers=hop).status_code in {400, 429}


def test_nobody_is_named_where_no_token_is_asked_for(site, client):
    got = reached(client.get("/public/", headers=bearer(site.user()) | FORGED))
    assert not [name for name in got if name.startswith("x-aragora")]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({}, None),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, None),
        ({"Authorization": "Bearer @@@"}, "invalid_request"),
        ({"Authorization": "Bearer a.b.c"}, "invalid_token"),
        (bearer("late", exp=1), "invalid_token"),
    ],
    ids=["none", "basic", "garbage", "unsigned", "expired"],
)
def test_who_shows_no_token_that_holds_is_told_401(client, sent, error):
    answer = client.get("/orders", headers=sent)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="api"')
    assert (error or "realm") in answer.headers["WWW-Authenticate"]
    assert "RateLimit" not in answer.headers


def test_a_token_that_allows_too_little_is_told_403(site, proxy, client):
    if proxy.name == "envoy":
        pytest.skip("its file asks for no scope")
    answer = client.get("/admin/", headers=bearer(site.user(), scope="read"))
    assert answer.status_code == 403
    if proxy.name == "haproxy":
        assert 'scope="admin"' in answer.headers["WWW-Authenticate"]
    reached(client.get("/admin/", headers=bearer(site.user(), scope="read admin")))


def test_a_token_in_the_query_lets_nobody_in_and_is_written_down_nowhere(site, proxy, client):
    token = bearer(site.user())["Authorization"].removeprefix("Bearer ")
    answer = client.get("/orders", params={"access_token": token})
    assert answer.status_code == 401
    assert token not in answer.text
    for log in (proxy.log, site.gateway.log):
        assert token not in log.read_text()


def test_a_refusal_of_a_head_has_no_body(client):
    for _ in range(2):  # a body would be taken for the next answer
        assert client.head("/orders").status_code == 401


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_of_two_tokens_the_service_gets_none_that_was_not_judged(site, proxy, first):
    good = f"Authorization: {bearer(site.user())['Authorization']}"
    fields = (
        (good, "Authorization: Bearer other") if first else ("Authorization: Bearer other", good)
    )
    assert raw(proxy.port, "GET / HTTP/1.1", *fields).split()[1] in {"400", "401"}


def test_a_client_cannot_choose_the_address_that_it_is_counted_by(site, proxy, client):
    for number in range(PUBLIC + 2):
        address = f"198.51.100.{number}"
        written = [
            ("X-Forwarded-For", address),
            ("X-Forwarded-For", f"{address}, 127.0.0.1"),
            ("Forwarded", f"for={address};by=127.0.0.1"),
            ("X-Real-IP", address),
            ("X-Client-IP", address),
            ("True-Client-IP", address),
        ]
        answer = client.get("/public/", headers=written)
        assert answer.status_code == (200 if number < PUBLIC else 429)
    assert int(answer.headers["Retry-After"]) > 60
    with proxy.client(site.address()) as another:
        reached(another.get("/public/"))


@pytest.mark.parametrize(
    "path", ["/public/../orders", "/public/%2e%2e/orders", "/public/..%2forders"]
)
def test_a_path_that_leads_out_does_not_lead_past_the_token(proxy, path):
    status = raw(proxy.port, f"GET {path} HTTP/1.1").split()[1]
    assert status in {"400", "401"}, "a service may tidy it"


def test_what_is_too_large_to_be_judged_does_not_pass_uncounted(site, proxy):
    """Where nobody answers requests pass; so nobody may make it seem so."""
    address = site.address()
    with proxy.client(address) as client:
        statuses = [client.get("/public/").status_code for _ in range(PUBLIC + 1)]
        assert statuses == [200] * PUBLIC + [429]
        for name in ("Authorization", "X-Forwarded-For", "Cookie", None):
            for size in (9_000, 14_000, 15_100, 20_000, 60_000):
                filler = "1.1.1.1," * (size // 8)
                path = "/public/" if name else f"/public/{filler}"
                with contextlib.suppress(httpx.TransportError):  # it may be closed unread
                    answer = client.get(path, headers={name: filler} if name else {})
                    assert 400 <= answer.status_code < 500, (name, size)


def test_a_body_is_the_service_s_alone(site, client):
    """The gateway takes 64 KiB, and waits for what is announced."""
    body = b"x" * 300_000
    sent = bearer(site.user())
    assert reached(client.post("/", headers=sent, content=body))["size"] == len(body)
    chunks = (body[begin : begin + 50_000] for begin in range(0, len(body), 50_000))
    assert reached(client.post("/", headers=sent, content=chunks))["size"] == len(body)


def each(site):
    if not HERE:
        pytest.skip("there is no proxy here: scripts/proxies gets them")
    return [site.proxy(name) for name in HERE]


def asked(site, proxy, path, **sent):
    with proxy.client(site.address()) as client:
        return client.get(path, **sent)


def passes(site, proxy):
    return asked(site, proxy, "/orders", headers=bearer(site.user())).status_code == 200


def refuses(site, proxy):
    return asked(site, proxy, "/public/").status_code in {403, 404, 503}


def test_connections_to_the_gateway_are_kept_and_used_again(site):
    proxies, port = each(site), site.ports.gateway
    until(lambda: not connections(port))  # idle for longer than one is kept, so each is made again
    for proxy in proxies:
        others, seen = connections(port), []
        with proxy.client() as client:
            for _ in range(20):
                assert client.get("/orders").status_code == 401, proxy.name
                seen.append(connections(port) - others)
        assert seen[0] & seen[-1], proxy.name
        assert len(set().union(*seen)) <= 2, "but for that of a health check"


def test_while_nobody_answers_each_place_is_closed_or_open_as_it_says(site):
    """Frozen, then dead, then there and not to be asked."""
    proxies = each(site)
    for ends in (signal.SIGSTOP, signal.SIGKILL):
        site.gateway.process.send_signal(ends)
        if ends is signal.SIGKILL:
            site.gateway.process.wait()
        for proxy in proxies:
            closed = asked(site, proxy, "/orders", headers=bearer(site.user()) | FORGED)
            assert closed.status_code == 503, proxy.name
            assert closed.headers["Retry-After"] == "1", proxy.name
            got = reached(asked(site, proxy, "/public/", headers=FORGED))
            assert not [name for name in got if name.startswith("x-aragora")], proxy.name
    site.gateway.stop()
    site.start_gateway(trusted="192.0.2.1")  # it answers, and will not be asked by these
    for proxy in proxies:
        until(partial(refuses, site, proxy), proxy.log.read_text)
    site.gateway.stop()
    site.start_gateway()
    for proxy in proxies:
        until(partial(site.leads, proxy))
        reached(asked(site, proxy, "/orders", headers=bearer(site.user())))


def test_while_redis_is_away_limits_go_on_here_or_refuse_and_revocations_hold(site):
    proxies, gone = each(site), bearer("gone", scope="read")
    body = {"jti": "gone", "expires_at": time.time() + 600}
    env = site.lab.env()
    admin = {"Authorization": f"Bearer {env['ARAGORA_ADMIN_TOKEN']}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{site.ports.gateway}", headers=admin) as gateway:
        assert gateway.post("/v1/tokens/revoke", json=body).status_code in {200, 202}
        site.lab.kill("primary")
        until(lambda: gateway.get("/v1/status").json()["health"] != "healthy")
        for proxy in proxies:
            assert asked(site, proxy, "/orders", headers=gone).status_code == 401
            closed = asked(site, proxy, "/orders", headers=bearer(site.user()))
            assert closed.status_code == 503, proxy.name
            assert int(closed.headers["Retry-After"]) >= 1, proxy.name
            with proxy.client(site.address()) as client:
                statuses = [client.get("/public/").status_code for _ in range(PUBLIC + 1)]
            assert (statuses[0], statuses[-1]) == (200, 429), proxy.name
            assert {*statuses} == {200, 429}, "this instance's share"
        site.lab.start_node("primary")
        until(lambda: gateway.get("/v1/status").json()["health"] == "healthy")
    for proxy in proxies:
        until(partial(passes, site, proxy))
        assert asked(site, proxy, "/orders", headers=gone).status_code == 401


def test_an_answer_that_is_none_lets_nobody_pass(site):
    """Such as that there is no such limit: only silence opens what is open."""
    proxies, policies = each(site), site.directory / "policies.toml"
    written = policies.read_text()
    policies.write_text(written.replace("limits.public", "limits.renamed"))
    try:
        site.gateway.process.send_signal(signal.SIGHUP)
        for proxy in proxies:
            until(partial(refuses, site, proxy))
            status = asked(site, proxy, "/public/").status_code
            assert status == (404 if proxy.name == "envoy" else 503), proxy.name
    finally:
        policies.write_text(written)
        site.gateway.process.send_signal(signal.SIGHUP)
    for proxy in proxies:
        until(partial(site.leads, proxy))


def test_what_traefik_is_told_is_what_the_gateway_knows():
    """There is no Traefik here: its file is read, and each name in it is known here."""
    read = yaml.safe_load((FILES / "traefik.yaml").read_text())["http"]
    middlewares = read["middlewares"]
    asking = [middlewares[name]["forwardAuth"] for name in ("token", "address")]
    paths = [each["address"].removeprefix("http://127.0.0.1:8080") for each in asking]
    assert [asked_in(path) for path in paths] == [
        Asked("user", frozenset(), "api"),
        Asked("address", frozenset(), "public"),
    ]
    for each in asking:
        assert each["authResponseHeaders"] == [*IDENTITY]
        assert set(each) == {"address", "authRequestHeaders", "authResponseHeaders"}
    removed = middlewares["no-identity"]["headers"]["customRequestHeaders"]
    assert set(removed.values()) == {""}
    spelt = {name.replace("-", mark) for name in IDENTITY for mark in "-_"}
    assert spelt <= set(removed)
    for router in read["routers"].values():
        assert router["middlewares"][0] == "no-identity"
        assert set(router["middlewares"]) <= set(middlewares)
        assert router["service"] in read["services"]
