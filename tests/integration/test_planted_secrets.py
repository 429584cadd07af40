"""I8: secrets are planted wherever they come in, and looked for wherever anything comes out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import re
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import pytest
import redis
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.integration.fleet import replaced, until
from tests.integration.hostile import Gateway
from tests.integration.past import give_past
from tests.integration.planted import Watch, forms, stored
from tests.integration.test_gateway_workers import workers_of
from tests.ports import free_port

from aragora_redis import LimitCheck, Rate, SharedState
from aragora_redis.errors import AragoraRedisError
from aragora_redis.gateway.app import create_app
from aragora_redis.gateway.server import listen, serve
from aragora_redis.sessions.client import Client
from aragora_redis.settings import from_env
from aragora_redis.telemetry.otel import OpenTelemetry

POLICIES = '[limits.api]\nrate = "100/second"\n\n[sessions]\nremember = "full"\n'
PLANTED = {
    "Redis password": "PLANTED/redis:acl@password",
    "wrong password": "PLANTED/wrong:redis@password",
    "gateway token": "PLANTED-gateway-token",
    "previous gateway token": "PLANTED-gateway-before",
    "admin token": "PLANTED-admin-token",
    "wrong token": "PLANTED-wrong-token",
    "digest key": "PLANTED-digest-key-of-the-fleet",
    "pardon key": "PLANTED-pardon-key-of-the-fleet",
    "session key": "PLANTED-session-key-0123456789abcdef",
    "JWT key": "PLANTED-jwt-key-0123456789abcdef-0123456789",
    "previous JWT key": "PLANTED-jwt-before-0123456789abcdef-0123",
    "jti": "PLANTED-jti-1",
    "user": "PLANTED-user-42",
    "family": "PLANTED-family-7",
    "tenant": "PLANTED-tenant-9",
    "subject": "PLANTED-subject-3",
    "address": "203.0.113.177",
    "device": "PLANTED-device",
    "session data": "PLANTED-session-data",
    "stray": "PLANTED-stray-input",
}
"""Made in the test besides: session ids, cookies, tokens, reservations, permits, logins."""


@pytest.fixture
def env(sentinel_lab, tmp_path):
    """A lab whose Redis knows a user with a planted password; an outbox, and all the keys."""
    for node in ("primary", "replica-0", "replica-1"):
        found = sentinel_lab.node(node)
        with redis.Redis(port=found.port, password=sentinel_lab.password(found)) as client:
            rights = ("on", f">{PLANTED['Redis password']}", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "planted", *rights)
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES)
    tokens = f"{PLANTED['gateway token']},{PLANTED['previous gateway token']}"
    return sentinel_lab.env() | {
        "ARAGORA_REDIS_USERNAME": "planted",
        "ARAGORA_REDIS_PASSWORD": PLANTED["Redis password"],
        "ARAGORA_GATEWAY_TOKEN": tokens,
        "ARAGORA_ADMIN_TOKEN": PLANTED["admin token"],
        "ARAGORA_DIGEST_KEY": PLANTED["digest key"],
        "ARAGORA_PARDON_KEY": PLANTED["pardon key"],
        "ARAGORA_SESSION_KEYS": f"k1:{PLANTED['session key']}",
        "ARAGORA_JWT_SECRET": PLANTED["JWT key"],
        "ARAGORA_JWT_SECRET_PREVIOUS": PLANTED["previous JWT key"],
        "ARAGORA_POLICIES": str(policies),
        "ARAGORA_TOKENS_OUTBOX": str(tmp_path / "outbox"),
        "ARAGORA_REDIS_DEADLINE": "1",
        "ARAGORA_LOG_LEVEL": "DEBUG",
    }


@pytest.fixture
def watch(sentinel_lab):
    return Watch(PLANTED | {"Sentinels' password": sentinel_lab.credentials.sentinel_password})


def test_nothing_that_was_planted_comes_out(env, sentinel_lab, watch, cli, tmp_path, monkeypatch):
    monkeypatch.setattr("aragora_redis.cli.desk.REACH_LIMIT", 0.3)  # with a wrong password
    give_past(sentinel_lab, ARAGORA_DIGEST_KEY=env["ARAGORA_DIGEST_KEY"])
    with watch.logs():
        session_id = asyncio.run(_work(env, sentinel_lab, watch))
        _command_line(env, watch, cli, tmp_path, session_id)
    for path in Path(env["ARAGORA_TOKENS_OUTBOX"]).rglob("*"):
        watch.look("outbox", path.read_bytes() + path.name.encode())
    found = sentinel_lab.node("primary")
    with redis.Redis(port=found.port, password=sentinel_lab.password(found)) as client:
        kept = dict(stored(client))
    assert len(kept) > 20
    for key, value in kept.items():
        watch.look(
            f"key {re.sub(rb'[0-9a-f]{16,}|[^ -~]', b'.', key).decode()}", key + b" " + value
        )
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            watch.look("command line", process.read_bytes())
    assert watch.seen == set()


async def _work(env, lab, watch):
    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    settings = from_env(env)
    watch.look("settings", f"{settings} {settings!r} {settings.warnings}")
    state = SharedState(settings)
    told = OpenTelemetry(MeterProvider([reader]), tracers)
    told.listen(state.events)
    told.watch(state.status)
    (listener,) = listen("127.0.0.1", 0)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(create_app(state), [listener], stop))
    gateway = Http(listener.getsockname()[1], watch)
    try:
        assert await state.wait_ready(20), state.status()
        session_id = await _with_the_library(state, watch)
        await _over_http(gateway, watch)
        await _wrongly_set_up(env, watch)
        await asyncio.to_thread(lab.kill, "primary")
        await _with_the_library(state, watch, again="down")
        await replaced(lab)
        await until(lambda: state.status().health == "healthy")
        await _over_http(gateway, watch)
        watch.look("status", repr(state.status()))
        assert watch.reprs() > 500
        watch.look("OpenTelemetry", str(reader.get_metrics_data()))
        assert spans.get_finished_spans()
        for span in spans.get_finished_spans():
            watch.look("span", span.to_json())
    finally:
        stop.set()
        await serving
    return session_id


async def tried(watch, awaited):
    """What comes of it; an error is looked at."""
    try:
        value = await awaited
    except Exception as error:  # noqa: BLE001 - each is looked at
        watch.error(error)
        return None
    watch.look(f"repr of {type(value).__name__}", f"{value!r} {value}")
    return value


async def _with_the_library(state, watch, again=""):
    """All that services do, and each of it wrongly, too."""
    await _with_limits(state.rate_limits, watch, again)
    await _with_tokens(state, watch, again)
    return await _with_sessions(state.sessions, watch, again)


async def _with_limits(limits, watch, again):
    p = PLANTED
    subjects: tuple[Any, ...] = (p["subject"], p["address"], p["stray"] * 200, 7)
    for subject in subjects:
        await tried(watch, limits.check("api", subject))
        await tried(watch, limits.check_all(LimitCheck("api", subject), LimitCheck("x", "y")))
        await tried(watch, limits.peek("api", subject))
    await tried(
        watch,
        limits.set_limit("api", p["subject"], Rate("9/second"), reason="r", actor="ann"),
    )
    await tried(watch, limits.reset("api", p["subject"]))
    await tried(watch, limits.check(p["stray"], "subject"))
    with contextlib.suppress(AragoraRedisError):
        reserved = await limits.reserve("api", p["subject"], 3)
        reservation = watch.plant(f"reservation {again}", reserved.id)
        watch.look("repr of Reserved", repr(reserved))
        await tried(watch, limits.settle(reservation, 1))
        await tried(watch, limits.refund(reservation + "x"))


async def _with_tokens(state, watch, again):
    p, tokens, now = PLANTED, state.tokens, time.time()
    claims: dict[str, Any] = {
        "jti": p["jti"],
        "sub": p["user"],
        "sid": p["family"],
        "org_id": p["tenant"],
    }
    claims |= {"iat": now - 10, "exp": now + 3600}
    token = watch.plant(f"JWT {again}", jwt.encode(claims, p["JWT key"]))
    forged = watch.plant(f"forged JWT {again}", jwt.encode(claims, p["JWT key"] + "x"))
    for presented in (token, forged, token + p["stray"], p["stray"], 7):
        await tried(watch, tokens.verify(presented))
    await tried(watch, tokens.revoke(p["jti"], expires_at=now + 3600, reason="stolen"))
    await tried(watch, tokens.revoke(p["stray"], expires_at="never"))
    await tried(watch, tokens.revoke_user(p["user"], reason="left", actor="ann"))
    await tried(watch, tokens.revoke_family(p["family"]))
    await tried(watch, tokens.revoke_tenant(p["tenant"], users=2, actor="ann"))
    await tried(watch, tokens.note(claims))
    await tried(watch, tokens.verify(token))
    with contextlib.suppress(AragoraRedisError):
        first = state.refresh_tokens.begin(p["user"], org_id=p["tenant"])
        watch.plant(f"refresh family {again}", first["sid"])
        watch.plant(f"refresh jti {again}", first["jti"])
        nonce = watch.plant(f"nonce {again}", f"PLANTED-nonce-{again}")
        await tried(watch, state.refresh_tokens.rotate(first, nonce=nonce))
        await tried(watch, state.refresh_tokens.rotate(first, nonce=nonce + "2"))


async def _with_sessions(sessions, watch, again):
    p = PLANTED
    data, client = {"card": p["session data"]}, Client(p["device"], p["address"])
    made = await tried(watch, sessions.create(p["user"], data, client=client))
    anonymous = await tried(watch, sessions.create(data=data))
    if made is None or anonymous is None:
        return None
    for n, each in enumerate((made, anonymous)):
        watch.plant(f"session id {n} {again}", each.id)
        watch.plant(f"cookie {n} {again}", sessions.cookie(each))
    moved = await tried(watch, sessions.rotate(made))
    known = await tried(watch, sessions.authenticate(anonymous, p["user"]))
    for n, each in enumerate((moved, known)):
        watch.plant(f"moved id {n} {again}", each.id)
    cookie = sessions.cookie(moved)
    for presented in (cookie, cookie + "x", cookie.replace(".", "0", 1), p["stray"]):
        await tried(watch, sessions.of_cookie(presented))
    changed = await tried(watch, sessions.update(moved, set={"card": p["session data"] + "!"}))
    await tried(watch, sessions.update(made, set={"card": "another"}, exact=True))
    await tried(watch, sessions.update(changed, set={p["stray"] * 99: object()}))
    await tried(watch, sessions.get(changed.id))
    await tried(watch, sessions.end(known))
    return changed.id


async def _wrongly_set_up(env, watch):
    """A wrong password, in a variable, in a URL, and where nobody listens."""
    wrong, right = PLANTED["wrong password"], PLANTED["Redis password"]
    url = f"redis://planted:{quote(wrong, safe='')}@127.0.0.1:{free_port()}/0"
    alone = {name: text for name, text in env.items() if "SENTINEL" not in name}
    for spoilt in (
        env | {"ARAGORA_REDIS_PASSWORD": wrong},
        env | {"ARAGORA_REDIS_SENTINEL_PASSWORD": wrong},
        {**alone, "ARAGORA_REDIS_URL": url, "ARAGORA_REDIS_PASSWORD": ""},
        env | {"ARAGORA_RATE_LIMIT_REDIS_URL": url},
    ):
        state = SharedState.from_env(spoilt | {"ARAGORA_TOKENS_OUTBOX": ""})
        state.start()
        try:
            await until(lambda: state.status().reason or state.status().troubles)  # noqa: B023
            watch.look("status", repr(state.status()))
            await tried(watch, state.rate_limits.check("api", PLANTED["subject"]))
        finally:
            await state.close()
    for spoilt in (
        {"ARAGORA_REDIS_URL": f"redis://u:{wrong}@:x"},
        {"ARAGORA_REDIS_URL": f"http://u:{right}@h"},
        {"ARAGORA_TOKENS_REDIS_URL": f"http://u:{right}@h"},
        {"ARAGORA_DIGEST_KEY": "${" + PLANTED["stray"] + "}"},
        {"ARAGORA_GATEWAY_TOKEN": f"{PLANTED['gateway token']} {PLANTED['stray']}"},
        {"ARAGORA_SESSION_KEYS": PLANTED["session key"]},
        {"ARAGORA_JWT_ALGORITHMS": "RS256"},
    ):
        try:
            from_env(env | spoilt)
        except AragoraRedisError as error:
            watch.error(error)


class Http:
    """A client that logs nothing itself. Answers that are errors are looked at."""

    def __init__(self, port, watch):
        self._port = port
        self._watch = watch

    async def ask(
        self, method, path, body=None, *, token=None, form=None, cookie=None, shown=False
    ):
        fields = ["Host: localhost", "Connection: close"]
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            fields += ["Content-Type: application/json"]
        elif form is not None:
            content = urlencode(form).encode()
            fields += ["Content-Type: application/x-www-form-urlencoded"]
        fields += [f"Content-Length: {len(content)}"]
        fields += [f"Authorization: {token}"] if token else []
        fields += [f"Cookie: {cookie}"] if cookie else []
        head = "\r\n".join((f"{method} {path} HTTP/1.1", *fields, "", ""))
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(head.encode() + content)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5 if path.endswith("/events") else 10):
                answer = b""
                while part := await reader.read(65536):
                    answer += part
        writer.close()
        status = int(answer[9:12])
        if status >= 400 or shown:
            where = re.sub(r"PLANTED[\w-]*|[\w-]{20,}", "*", path)
            self._watch.look(f"{method} {where}: {status}", answer, but=("csrf",))
        return status, answer


async def _over_http(http, watch):
    p = PLANTED
    good, admin = f"Bearer {p['gateway token']}", f"Bearer {p['admin token']}"
    stray, soon = p["stray"], time.time() + 3600
    basic = base64.b64encode(f"svc:{p['wrong token']}".encode()).decode()
    for wrong in (f"Bearer {p['wrong token']}", f"Basic {basic}", p["wrong token"], None):
        await http.ask("GET", "/v1/status", token=wrong)
        await http.ask("POST", "/oauth/introspect", form={"token": stray}, token=wrong)
    assert (await http.ask("GET", "/v1/status", token=good, shown=True))[0] == 200
    for path, body in (
        ("/v1/limits/api/check", {"subject": p["subject"], stray: stray}),
        ("/v1/limits/api/check", {"subject": p["subject"], "cost": stray}),
        (f"/v1/limits/{stray}/check", {"subject": p["subject"]}),
        ("/v1/limits/settle", {"reservation": stray, "cost": 1}),
        ("/v1/tokens/check", {"token": stray}),
        ("/v1/tokens/check", {"jti": [p["jti"]]}),
        ("/v1/tokens/revoke", {"jti": p["jti"], "expires_at": stray}),
        ("/v1/tokens/refresh", {"claims": {"jti": stray}, "nonce": stray}),
        ("/v1/sessions", {"user": p["user"], "data": {stray: p["session data"]}, stray: 1}),
        (f"/v1/sessions/{stray}/rotate", None),
        ("/v1/circuits/upstream/report", {"permit": stray, "outcome": "success"}),
        (f"/v1/{stray}?token={stray}", None),
        ("/v1/tokens/revoke", f'{{"jti": "{p["jti"]}", '.encode()),
    ):
        for token in (good, admin):
            status, _ = await http.ask("POST", path, body, token=token)
            assert status >= 400, path
    signed = jwt.encode({"sub": p["subject"], "exp": soon, "jti": "other"}, p["JWT key"])
    watch.plant("token of a user", signed.rpartition(".")[2])
    for who, sent in (
        ("user", f"Bearer {p['wrong token']}"),
        ("user", f"Bearer {signed}{stray}"),
        ("user+admin", f"Bearer {signed}"),
        (f"user+{stray}", None),
        (stray, f"Bearer {signed}"),
    ):
        path = f"/authz/{who}/api/{stray}?access_token={signed}"
        assert (await http.ask("GET", path, token=sent))[0] >= 400, who
    for path in ("/authz", "/authz/user/api"):
        assert (await http.ask("GET", path, token=f"Bearer {signed}"))[0] == 200
    await http.ask("GET", f"/authz?access_token={signed}", token=f"Bearer {signed}{stray}")
    await http.ask("GET", f"/authz/user/{stray}", token=f"Bearer {signed}")
    await http.ask(
        "POST", "/v1/limits/api/check", {"subject": p["subject"]}, token=good, shown=True
    )
    revoked = {"jti": p["jti"], "expires_at": soon, "actor": "ann", "reason": "r"}
    assert (await http.ask("POST", "/v1/tokens/revoke", revoked, token=admin, shown=True))[0] < 300
    await http.ask("GET", f"/v1/sessions/{stray}", token=good)
    await http.ask("GET", f"/v1/users/{p['user']}/sessions", token=f"Bearer {p['wrong token']}")
    _, permit = await http.ask("POST", "/v1/circuits/upstream/acquire", {}, token=good)
    sealed = json.loads(permit.partition(b"\r\n\r\n")[2])["permit"]
    await http.ask(
        "POST", "/v1/circuits/other/report", {"permit": sealed, "outcome": "ok"}, token=good
    )
    await http.ask("GET", "/v1/audit", token=admin, shown=True)
    await http.ask("GET", "/v1/tokens", token=admin, shown=True)
    await http.ask("POST", "/oauth/introspect", form={"token": stray}, token=good, shown=True)
    await http.ask("GET", "/metrics", shown=True)
    await http.ask("GET", "/openapi.json", shown=True)
    await http.ask("POST", "/dashboard/login", form={"token": p["wrong token"]}, shown=True)
    _, let_in = await http.ask("POST", "/dashboard/login", form={"token": p["admin token"]})
    found = re.search(rb"(?i)set-cookie: ([^;]+)", let_in)
    assert found, let_in
    cookie = found[1].decode()
    watch.plant(f"login {cookie[-8:]}", cookie.partition("=")[2])
    for path in ("/dashboard", "/dashboard/events"):
        status, _ = await http.ask("GET", path, cookie=cookie, shown=True)
        assert status == 200
    _, page = await http.ask("GET", "/dashboard", cookie=cookie)
    proof = re.search(rb'name="csrf" value="([0-9a-f]+)"', page)
    assert proof, page
    for act in ({"kind": "jti", "who": p["jti"], "days": "1"}, {"kind": "user", "who": p["user"]}):
        form = {"csrf": proof[1].decode(), "act": "revoke", "reason": "r"} | act
        status, _ = await http.ask("POST", "/dashboard/do", form=form, cookie=cookie, shown=True)
        assert status == 200
    await http.ask("GET", "/dashboard", cookie=cookie, shown=True)
    await http.ask("POST", "/dashboard/logout", form={"csrf": stray}, cookie=cookie, shown=True)
    await http.ask("GET", "/dashboard", cookie=cookie + stray, shown=True)


def _command_line(env, watch, cli, tmp_path, session_id):
    """Each command as people and as programs read it, also with a wrong password."""
    secret = tmp_path / "session-id"
    secret.write_text(session_id)
    token = tmp_path / "token"
    claims = {"jti": PLANTED["jti"], "sub": PLANTED["user"], "exp": time.time() + 3600}
    token.write_text(watch.plant("token in a file", jwt.encode(claims, PLANTED["JWT key"])))
    commands = (
        ("settings",),
        ("status",),
        ("health",),
        ("doctor",),
        ("doctor", "--connect"),
        ("tokens", "list"),
        ("tokens", "revoke", "--token-file", str(token), "--reason", "r", "--actor", "ann"),
        ("limits", "own", "api"),
        ("sessions", "look", "--id-file", str(secret)),
        ("circuits", "list"),
        ("audit",),
    )
    wrong = {"ARAGORA_REDIS_PASSWORD": PLANTED["wrong password"]}
    for command in commands:
        shown = ("address", "device") if command[0] == "sessions" else ()
        for form in ((), ("--json",)):
            code, out, err = cli(*command, *form, **env)
            watch.look(f"`{' '.join(command[:2])}`", out + err, but=shown)
            assert code in {0, 1} or command[0] in {"doctor", "health"}, (command, out, err)
        if command[0] not in {"settings", "doctor"}:
            _, out, err = cli(*command, **env | wrong)
            watch.look(f"`{' '.join(command[:2])}` with a wrong password", out + err)
    _, out, err = cli("status", "--no-such", PLANTED["stray"], **env)
    watch.look("a wrong option", err, but=("stray",))


@pytest.mark.drill
def test_a_worker_that_crashes_tells_nothing(standalone_lab, tmp_path):
    """All that the processes write to their log and show to `ps`, from the start to a crash."""
    planted = {name: PLANTED[name] for name in ("wrong token", "stray", "subject", "digest key")}
    watch = Watch(planted | {"password": standalone_lab.credentials.redis_password})
    env = standalone_lab.env() | {
        "ARAGORA_WORKERS": "2",
        "ARAGORA_LOG_LEVEL": "DEBUG",
        "ARAGORA_LOG_FORMAT": "json",
        "ARAGORA_DIGEST_KEY": PLANTED["digest key"],
        "PYTHONFAULTHANDLER": "1",
    }
    gateway = Gateway(free_port(), tmp_path / "log", **env)
    try:
        first = workers_of(gateway.process.pid)
        for process in {gateway.process.pid, *first}:
            watch.look("command line", Path(f"/proc/{process}/cmdline").read_bytes())
        for token in (env["ARAGORA_GATEWAY_TOKEN"], PLANTED["wrong token"]):
            said = (
                f"POST /v1/{PLANTED['stray']} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            )
            watch.plant(f"token {token[:8]}", token)
            gateway.ask(f"{said}Authorization: Bearer {token}\r\n\r\n".encode())
        os.kill(min(first), signal.SIGABRT)
        end = time.monotonic() + 20
        while "ended" not in gateway.log.read_text():
            assert time.monotonic() < end, gateway.log.read_text()
            time.sleep(0.02)
    finally:
        gateway.stop()
    said = gateway.log.read_text()
    assert "Fatal Python error" in said
    watch.look("log", said)
    assert watch.seen == set()


class Careless:
    __module__ = "aragora_redis.careless"

    def __repr__(self):
        return f"Careless({PLANTED['digest key']})"


@pytest.mark.parametrize("form", sorted(forms(PLANTED["wrong password"])))
def test_a_leak_would_be_seen(form):
    watch = Watch({"it": PLANTED["wrong password"]})
    watch.look("there", f"before {form} after")
    assert watch.seen == {("there", "it")}


def test_a_leak_would_be_seen_wherever_it_is(standalone_lab):
    watch = Watch(PLANTED)
    with watch.logs():
        logging.getLogger("redis").debug("AUTH %s", PLANTED["wrong password"])
        error = KeyError(PLANTED["jti"])
        logging.getLogger("aragora_redis.any").info("as told", exc_info=error)
    careless = Careless()
    watch.reprs()
    del careless
    node, key = standalone_lab.node("primary"), f"{time.time_ns()}"
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
        client.hset(key, PLANTED["subject"], "1")
        watch.look("key", dict(stored(client))[key.encode()])
        client.delete(key)
    places = {(where.split(" of ")[0], name) for where, name in watch.seen}
    assert places >= {
        ("log", "wrong password"),
        ("log", "jti"),
        ("error KeyError", "jti"),
        ("repr", "digest key"),
        ("key", "subject"),
    }
