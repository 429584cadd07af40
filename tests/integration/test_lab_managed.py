"""A managed service on this machine: from outside, and what its provider does."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import hiredis
import pytest
from tests.integration.rights import needs_cuts, needs_tls

from aragora_redis.lab import Lab, State
from aragora_redis.lab.service import FORBIDDEN
from aragora_redis.lab.waiting import wait_until


class Client:
    """One connection of an application to one node, as the name leads to it."""

    def __init__(self, lab: Lab, target: str = "primary", password: str | None = None) -> None:
        env, node = lab.env(), lab.node(target)
        name = env["ARAGORA_REDIS_URL"].removeprefix("rediss://").partition(":")[0]
        trusted = ssl.create_default_context(cafile=env["ARAGORA_REDIS_TLS_CA"])
        plain = socket.create_connection(node.address, 5)
        self.socket = trusted.wrap_socket(plain, server_hostname=name)
        self._reader = hiredis.Reader(encoding="utf-8")
        self.greeting = self("AUTH", "app", password or password_of(lab))

    def __call__(self, *words: Any) -> Any:
        self.socket.sendall(hiredis.pack_command(words))
        while (reply := self._reader.gets()) is False:
            if not (received := self.socket.recv(4096)):
                raise ConnectionError("closed")
            self._reader.feed(received)
        return str(reply) if isinstance(reply, hiredis.ReplyError) else reply


def password_of(lab):
    return Path(lab.env()["ARAGORA_REDIS_PASSWORD_FILE"]).read_text("utf-8").strip()


pytestmark = needs_tls


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One lab, for tests that leave it whole."""
    lab = Lab.create(tmp_path_factory.mktemp("managed") / "lab", "managed", ports="free")
    lab.start()
    yield lab
    lab.stop()
    assert not lab.status().running


@pytest.fixture
def client():
    """Makes connections that are closed after the test."""
    with ExitStack() as cleanup:

        def make(lab, *arguments):
            made = Client(lab, *arguments)
            cleanup.callback(made.socket.close)
            return made

        yield make


def reached(condition, seconds=10):
    return not wait_until(lambda: "" if condition() else "not yet", seconds=seconds)


def roles(lab):
    return {node.name: node.role for node in lab.status().nodes if node.name != "provider-0"}


def whole(lab):
    """Whether a primary, to which the name leads, has its replica."""
    primary = lab.primary()
    return roles(lab) == {
        name: "primary" if name == primary else "replica" for name in ("redis-0", "redis-1")
    }


def test_the_endpoint_is_a_name_with_tls_and_a_user(shared, client):
    first, second = (shared.node(name).address for name in ("redis-0", "redis-1"))
    assert first.port == second.port
    assert first.host != second.host
    app = client(shared)
    assert app.greeting == "OK"
    assert app("SET", "a", "1") == "OK"
    assert app("WAIT", 1, 2000) == 1
    trusted = ssl.create_default_context(cafile=shared.env()["ARAGORA_REDIS_TLS_CA"])
    with (
        socket.create_connection(first, 5) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="not valid for"),
    ):
        trusted.wrap_socket(plain, server_hostname=first.host)
    with socket.create_connection(first, 5) as plain, suppress(ConnectionResetError):
        plain.sendall(b"PING\r\n")
        assert not plain.recv(100).startswith((b"+", b"-"))


def test_what_services_forbid_is_unknown(shared, client):
    app = client(shared)
    for command in FORBIDDEN:
        assert app(command, "x").startswith(f"ERR unknown command '{command}'")


def test_a_switch_keeps_connections_and_makes_them_readonly(shared, client):
    old = shared.primary()
    app = client(shared)
    number = app("CLIENT", "ID")
    app("SET", "before", "1")
    new = shared.switch()
    assert {old, new} == {"redis-0", "redis-1"}
    assert app("SET", "after", "1").startswith("READONLY")
    assert app("CLIENT", "ID") == number
    assert client(shared, new)("GET", "before") == "1"
    assert reached(lambda: shared.primary() == new)
    assert reached(lambda: whole(shared))


def test_a_password_is_rotated_without_ending_connections(shared, client):
    app, old = client(shared), password_of(shared)
    shared.rotate(overlap=1.0)
    for name in ("redis-0", "redis-1"):
        assert client(shared, name).greeting == "OK"
    assert client(shared, "redis-0", old).greeting == "OK"
    for name in ("redis-0", "redis-1"):
        assert reached(lambda name=name: "WRONGPASS" in client(shared, name, old).greeting)
    assert app("PING") == "PONG"


def test_other_services_forbid_other_things(cli, make_lab, client):
    lab = make_lab("managed")
    where = ("--lab", str(lab.directory))
    forbidden = ("EVALSHA", "INFO", "WAIT", "CLIENT")
    choices = [word for name in forbidden for word in ("--forbid", name.lower())]
    choices += ["--allow", "role", "--idle", "1", "--name-delay", "0"]
    assert cli("lab", "start", *choices, *where)[0] == 0
    app = client(lab)
    for command in forbidden:
        assert app(command, "x").startswith(f"ERR unknown command '{command}'")
    assert app("ROLE")[0] == "master"
    assert app("SET", "a", "1") == "OK"
    app.socket.settimeout(5)
    assert app.socket.recv(1) == b"", "it was idle"
    assert cli("lab", "switch", *where)[:2] == (0, "promoted: redis-1; the name follows\n")
    assert reached(lambda: lab.primary() == "redis-1")
    code, out, _ = cli("lab", "rotate", "--overlap", "0", "--json", *where)
    assert (code, json.loads(out)["password_file"]) == (0, str(lab.directory / "app-password"))
    assert client(lab)("GET", "a") == "1"
    lab.stop()
    code, _, err = cli("lab", "start", "--forbid", "psync", *where)
    assert (code, "without PSYNC" in err) == (1, True)


@needs_cuts
def test_a_primary_that_is_cut_off_is_one_until_the_cut_is_healed(managed_lab):
    lab = managed_lab
    lab.cut("primary")
    assert reached(lambda: lab.primary() == "redis-1")
    assert roles(lab) == {"redis-0": "primary", "redis-1": "primary"}
    lab.heal()
    assert reached(lambda: whole(lab), seconds=30)


def test_a_killed_primary_is_replaced_and_the_name_follows(managed_lab, client):
    lab = managed_lab
    app = client(lab)
    app("SET", "kept", "yes")
    assert app("WAIT", 1, 2000) == 1
    lab.kill("primary")
    assert reached(lambda: lab.primary() == "redis-1")
    assert client(lab)("GET", "kept") == "yes"
    lab.start_node("redis-0")
    assert roles(lab) == {"redis-0": "replica", "redis-1": "primary"}
    assert lab.kill("all") == ("redis-0", "redis-1", "provider-0")
    assert lab.start_all() == ("redis-0", "redis-1", "provider-0")
    assert lab.primary() == "redis-1"
    assert client(lab)("GET", "kept") == "yes"
    assert lab.stop() == ("provider-0", "redis-0", "redis-1")
    assert {node.state for node in lab.status().nodes} == {State.DEAD}


def test_a_frozen_primary_that_resumes_is_one_until_the_provider_sees_it(managed_lab, client):
    lab = managed_lab
    app = client(lab)
    lab.freeze("primary")
    assert reached(lambda: lab.primary() == "redis-1")
    lab.freeze("provider-0")
    lab.thaw("redis-0")
    assert app("SET", "lost", "1") == "OK"
    assert client(lab)("SET", "kept", "1") == "OK"
    assert roles(lab) == {"redis-0": "primary", "redis-1": "primary"}
    lab.thaw("provider-0")
    assert reached(lambda: whole(lab))
    assert lab.primary() == "redis-1"
    assert app("SET", "late", "1").startswith("READONLY")
    assert reached(lambda: app("GET", "kept") == "1")
    assert app("GET", "lost") is None
