"""The real Aragora server on a real Redis with Sentinels, through its own HTTP API."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.integration.past import give_past

from aragora_redis.aragora.blacklist import other_text
from aragora_redis.lab import State
from aragora_redis.lab.ports import free_ports

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv" / "aragora" / "bin"
PASSWORD = "Corr3ct-horse-battery!"
LOGIN_LIMIT = 5
READY = 120.0

pytestmark = pytest.mark.skipif(
    not (BIN / "aragora-redis").exists(), reason="Aragora is not installed: make aragora"
)


def until(condition, within):
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.05)
    return value


class Server:
    """One Aragora server, started by our command, or by its own."""

    addresses = itertools.count(1)
    ours = (BIN / "aragora-redis", "run-aragora")
    its_own = (BIN / "python", "-m", "aragora.server")

    def __init__(self, directory, env, *options, by=ours):
        ports = [str(port) for port in free_ports(5, 0).data]
        names = ("CONTROL_PLANE", "NOMIC_LOOP", "CANVAS")
        own = {f"ARAGORA_{name}_WS_PORT": port for name, port in zip(names, ports[2:], strict=True)}
        self.url = f"http://127.0.0.1:{ports[0]}"
        own["ARAGORA_DATA_DIR"] = str(directory / ports[0])  # nothing is shared but by Redis
        self.log = directory / f"{ports[0]}.log"
        command = [*by, *options, "--offline"]
        command += ["--host", "127.0.0.1", "--http-port", ports[0], "--port", ports[1]]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=directory, env=env | own, stdout=log, stderr=subprocess.STDOUT
            )

    def call(self, method, path, body=None, token=None, address=None):
        """The status, and what came with it. Each call is of a client of its own, unless told."""
        address = address or f"203.0.113.{next(self.addresses) % 250 + 1}"
        headers = {"content-type": "application/json", "x-forwarded-for": address}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(  # noqa: S310
            self.url + path, data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def me(self, token):
        return self.call("GET", "/api/auth/me", token=token)[0]

    def login(self, email, password=PASSWORD, address=None):
        body = {"email": email, "password": password}
        return self.call("POST", "/api/auth/login", body, address=address)

    def logout(self, token):
        return self.call("POST", "/api/auth/logout", {}, token=token)[0]

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.call("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def found(self):
        """What the self-check said: the place of each feature that has one."""
        said = [line for line in self.log.read_text().splitlines() if "aragora-redis: " in line]
        told = (line.partition("aragora-redis: ")[2].split(": ") for line in said)
        return {feature: where for feature, where, *_ in told if feature != "beside them"}

    def end(self):
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


SHARED = {
    "token blacklist": "on Redis",
    "rate limiters": "on Redis",
    "login and other handler limits": "on Redis",
    "lockout": "on Redis",
    "circuit breakers": "on Redis",
    "session store": "on Redis",
}


@pytest.fixture
def env(sentinel_lab):
    give_past(sentinel_lab)
    own = {name: text for name, text in os.environ.items() if not name.startswith("ARAGORA_")}
    return own | sentinel_lab.env() | {"ARAGORA_JWT_SECRET": "s" * 40}


@pytest.fixture
def start(tmp_path, env):
    started = []

    def run(*options, **others):
        started.append(Server(tmp_path, env | others.pop("env", {}), *options, **others))
        return started[-1]

    yield run
    for server in started:
        server.process.send_signal(signal.SIGTERM)
    for server in started:
        server.end()


def test_the_self_check_finds_each_feature_where_it_is(start):
    server = start("--self-check")
    assert server.process.wait(READY) == 0, server.log.read_text()[-3000:]
    assert server.found() == SHARED


def one_breaker_and_one_store(env, both, token):
    """Returns who counts the devices of the token's user, of which another process stored one."""
    user = both[0].call("GET", "/api/auth/me", token=token)[1]["user"]["id"]
    with Besides(env) as (one, other):
        assert [one("ask"), other("ask")] == ["closed", "closed"]
        assert [one("fail"), one("fail")] == ["closed", "open"]
        until(lambda: other("ask") == "open", 3)
        assert one(f"device {user}") == "stored"

    def devices():
        said = [s.call("GET", f"/api/devices/user/{user}", token=token) for s in both]
        assert [status for status, _ in said] == [200, 200], said
        return [answer["device_count"] for _, answer in said]

    assert devices() == [1, 1]
    return devices


@pytest.mark.aragora
@pytest.mark.timeout(300)
def test_two_servers_through_every_loss_of_redis(start, sentinel_lab, env):
    lab = sentinel_lab
    first, second = both = start(), start()
    until(lambda: all(server.ready() for server in both), READY)
    for server in both:
        assert server.found() == SHARED

    body = {"email": "a@example.com", "password": PASSWORD, "name": "A"}
    # Each has a table of its own, and finds the user of a token by its address.
    _, (status, answer) = [server.call("POST", "/api/auth/register", body) for server in both]
    assert status == 201, answer
    revoked = answer["tokens"]["access_token"]
    alive = first.login("a@example.com")[1]["tokens"]["access_token"]
    if alive == revoked:  # a token has no id, so that two of one second are the same
        time.sleep(1)
        alive = first.login("a@example.com")[1]["tokens"]["access_token"]
    texts = (revoked, other_text(revoked))

    def statuses(*tokens):
        return [server.me(token) for token in tokens for server in both]

    assert statuses(*texts, alive) == [200] * 6
    assert first.logout(revoked) == 200
    until(lambda: second.me(revoked) == 401, 2)
    assert statuses(*texts, alive) == [401] * 4 + [200] * 2

    # One login limit for both: neither has used up its own.
    address = "198.51.100.7"
    turns = [first, first, first, second, second]
    assert [s.login("a@example.com", address=address)[0] for s in turns] == [200] * LOGIN_LIMIT
    assert [s.login("a@example.com", address=address)[0] for s in both] == [429, 429]

    # One lockout for both, of somebody whom the table of users does not know.
    wrong = [s.login("nobody@example.com", "wrong")[0] for s in turns]
    assert wrong == [401] * LOGIN_LIMIT
    assert [s.login("nobody@example.com", "wrong")[0] for s in both] == [429, 429]

    devices = one_breaker_and_one_store(env, both, alive)

    old = lab.node("primary").name
    lab.kill("primary")
    assert statuses(*texts, alive) == [401] * 4 + [200] * 2
    until(lambda: lab.node("primary").state is State.RUNNING and lab.primary() != old, 40)
    assert statuses(*texts, alive) == [401] * 4 + [200] * 2
    until(lambda: devices() == [1, 1], 10)

    lab.start_node(old)
    lab.restart("all", wipe=True)
    assert statuses(*texts, alive) == [401] * 4 + [200] * 2

    lab.kill("all")
    seen = statuses(*texts, alive)
    seen += [server.login("a@example.com")[0] for server in both]
    seen += [first.logout(alive), first.me(alive)]
    assert seen == [401] * 4 + [200] * 4 + [200, 401]


@pytest.mark.aragora
@pytest.mark.timeout(300)
def test_unchanged_behind_the_proxy(start, sentinel_lab, tmp_path):
    """Only told of the proxy's port; the primary is killed, and no answer is a 500."""
    lab = sentinel_lab
    (port,) = free_ports(1, 0).data
    led = (ROOT / ".venv/bin/aragora-redis", "proxy", "--login", "--lab", lab.directory)
    with (tmp_path / "proxy.log").open("wb") as log:
        proxy = subprocess.Popen([*led, "--listen", f"127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        own = {"ARAGORA_REDIS_URL": url, "REDIS_URL": url, "ARAGORA_BLACKLIST_BACKEND": "redis"}
        first, second = both = [start(by=Server.its_own, env=own) for _ in range(2)]
        until(lambda: all(server.ready() for server in both), READY)
        body = {"email": "b@example.com", "password": PASSWORD, "name": "B"}
        _, (status, answer) = [each.call("POST", "/api/auth/register", body) for each in both]
        assert status == 201, answer
        revoked = answer["tokens"]["access_token"]
        time.sleep(1)  # a token has no id, so that two of one second are the same
        alive = second.login("b@example.com")[1]["tokens"]["access_token"]
        assert first.logout(revoked) == 200
        assert [each.me(revoked) for each in both] == [401, 401]

        old = lab.node("primary").name
        seen: list[int] = []
        lab.kill("primary")

        def replaced():
            seen.extend(each.me(token) for each in both for token in (revoked, alive))
            seen.append(first.login("b@example.com")[0])
            return lab.primary() != old and lab.node("primary").state is State.RUNNING

        until(replaced, 40)
        assert not [status for status in seen if status >= 500]
        assert [each.me(revoked) for each in both] == [401, 401]
        assert [each.me(alive) for each in both] == [200, 200]
        assert first.logout(alive) == 200
        assert [each.me(alive) for each in both] == [401, 401]
    finally:
        proxy.terminate()
        proxy.wait(20)


class Besides:
    """Processes with Aragora's breakers and store; each is a call that sends and reads a line."""

    def __init__(self, env):
        command = [BIN / "python", ROOT / "tests/integration/aragora_breakers.py"]
        self.processes = [self.started(command, env) for _ in range(2)]

    def started(self, command, env):
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self):
        return [self.talk(process) for process in self.processes]

    def __exit__(self, *_):
        for process in self.processes:
            process.communicate(timeout=20)

    def talk(self, process):
        def say(word):
            process.stdin.write(word + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        return say
