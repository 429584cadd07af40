"""What the compose file and the units start, started here, survives the death of its primary.

The files are read as Compose and systemd read them; what those two would set up is laid below a
directory, and each server gets an address of its own on loopback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.artefacts.files import BIN, DEPLOY, ran
from tests.artefacts.units import environment, parsed
from tests.integration.pods import (
    BIND_HOSTS,
    MASTER,
    busybox,
    free_ports,
    needs_addresses,
    until,
)
from tests.integration.rights import needs_mounts

from aragora_redis.lab import network

pytestmark = [needs_addresses, pytest.mark.timeout(240)]
NODES = range(3)


class Fleet:
    """The processes of one deployment, by name: `redis-0`, `sentinel-0`..., `gateway`."""

    def __init__(self, root):
        self.root = root
        net = network.choose()
        self.hosts = {
            f"{part}-{number}": f"{net}.{first + number}"
            for part, first in (("redis", 10), ("sentinel", 20))
            for number in NODES
        }
        self.redis_port, self.sentinel_port = free_ports(list(self.hosts.values()))
        self.gateway_port, _ = free_ports(["127.0.0.1"])
        self.env = {
            "PATH": os.pathsep.join((str(busybox(root)), str(BIN), os.environ["PATH"])),
            "REDIS_PORT": str(self.redis_port),
            "SENTINEL_PORT": str(self.sentinel_port),
            "ARAGORA_PORT": str(self.gateway_port),
            "BOOTSTRAP_WAIT": "2",
        }
        self.programs = {}
        self.processes = {}
        self.secrets = root / "secrets"

    def start(self, *names):
        for name in names or self.programs:
            argv, env = self.programs[name]
            with (self.root / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    argv, env=self.env | env, stdout=log, stderr=log, start_new_session=True
                )

    def kill(self, *names):
        for name in names or list(self.processes):
            process = self.processes.pop(name)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def ask(self, name, *words, password=None):
        sentinel = name.startswith("sentinel")
        with redis.Redis(
            self.hosts[name],
            self.sentinel_port if sentinel else self.redis_port,
            password=password or (self.secrets / f"{'sentinel-' * sentinel}password").read_text(),
            socket_timeout=1,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        ) as client:
            return client.execute_command(*words)

    def primary(self):
        """The node that serves with two replicas, if its Sentinels know all that there is."""
        try:
            for number in NODES:
                said = self.ask(f"sentinel-{number}", "SENTINEL", "MASTER", MASTER)
                if {said["num-slaves"], said["num-other-sentinels"]} != {"2"}:
                    return None
            roles = [self.ask(f"redis-{number}", "ROLE") for number in NODES]
        except redis.RedisError:
            return None
        served = [number for number in NODES if roles[number][0] == "master"]
        if len(served) != 1 or len(roles[served[0]][2]) != 2:
            return None
        return f"redis-{served[0]}"

    def primaries(self):
        found = []
        for name in (f"redis-{number}" for number in NODES):
            with contextlib.suppress(redis.RedisError):
                if self.ask(name, "ROLE")[0] == "master":
                    found.append(name)
        return found

    def gateway_follows(self):
        """The address that the gateway has for the primary, once it has one and is ready."""
        token = (self.secrets / "gateway-token").read_text()
        try:
            ready, _ = self.get("/readyz")
            _, status = self.get("/v1/status", Authorization=f"Bearer {token}")
        except OSError:
            return None
        return status["primary"] if ready == 200 and status["health"] == "healthy" else None

    def get(self, path, **headers):
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.gateway_port, timeout=2)
        ) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.kill()
    for name in fleet.programs:
        log = tmp_path / f"{name}.log"
        sys.stdout.write(f"== {name}\n{log.read_text() if log.exists() else ''}")


def hasten(config):
    """What takes five seconds in production takes one here."""
    for file in config.glob("*.conf"):
        text = file.read_text("utf-8").replace(f"{MASTER} 5000", f"{MASTER} 1000")
        text = text.replace(f"{MASTER} 60000", f"{MASTER} 6000")
        file.write_text(text, "utf-8")


def outlives_its_primary(fleet):
    """Start all, kill the primary and its Sentinel, see another, and see the killed ones return."""
    fleet.start()
    assert until(fleet.primary) == "redis-0"
    before = until(fleet.gateway_follows)
    assert fleet.ask("redis-0", "SET", "kept", "yes")
    assert fleet.ask("redis-0", "WAIT", 2, 5000) == 2
    fleet.kill("redis-0", "sentinel-0")
    (new,) = until(fleet.primaries)
    assert new != "redis-0"
    assert fleet.ask(new, "GET", "kept") == "yes"
    assert until(lambda: (now := fleet.gateway_follows()) != before and now)
    yield
    fleet.start("sentinel-0", "redis-0")
    assert until(fleet.primary) == new
    assert fleet.ask("redis-0", "GET", "kept") == "yes"


def composed(fleet):
    """What the compose file starts, and each server's check of its health."""
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    ran("sh", DEPLOY / "compose" / "make-secrets.sh", fleet.secrets)
    shutil.copytree(DEPLOY / "redis", fleet.root / "redis")
    shutil.copytree(DEPLOY / "compose", fleet.root / "compose")
    hasten(fleet.root / "redis")
    names = fleet.root / "hosts"
    names.write_text("".join(f"{host} {name}\n" for name, host in fleet.hosts.items()))
    inside = ("unshare", "--mount", "sh", "-c", BIND_HOSTS, str(names))
    checks = {}
    for name in (*fleet.hosts, "gateway"):
        service = services[name]
        places = {"/run/secrets": fleet.root / name / "secrets"}
        places["/run/secrets"].mkdir(parents=True)
        for secret in service["secrets"]:
            shutil.copy(fleet.secrets / secret, places["/run/secrets"])
        for mount in service["volumes"]:
            source, target = mount.split(":")[:2]
            named = not source.startswith(".")
            places[target] = (
                fleet.root / name / "data" if named else fleet.root / "compose" / source
            )
            if named:
                places[target].mkdir()

        def here(word, places=places):
            for target, place in places.items():
                word = re.sub(rf"^{target}(?=/|$)", str(place), word)
            return word.replace(":26379", f":{fleet.sentinel_port}")

        env = {key: here(value) for key, value in service["environment"].items()}
        if name in fleet.hosts:
            # Of the image, and of the container's network.
            address = fleet.hosts[name]
            env |= {"CONFIG": here("/mnt/config"), "DATA": here("/data")}
            env |= {"BIND": address, "LOCAL": address}
            checks[name] = (
                [*inside, *(here(word) for word in service["healthcheck"]["test"][1:])],
                fleet.env | env,
            )
        command = [here(word) for word in (*service["entrypoint"], *service["command"])]
        fleet.programs[name] = ([*inside, *command], env | {"SECRETS": here("/run/secrets")})
    return checks


@needs_mounts
def test_what_compose_starts_outlives_its_primary(fleet):
    checks = composed(fleet)

    def unfit():
        return {name for name, (argv, env) in checks.items() if ran(*argv, env=env)[1]}

    assert unfit() == set(checks)
    story = outlives_its_primary(fleet)
    next(story)
    until(lambda: unfit() == {"redis-0", "sentinel-0"})
    next(story, None)
    until(lambda: not unfit())
    (fleet.root / "redis-0" / "secrets" / "password").write_text("wrong")
    (fleet.root / "sentinel-0" / "secrets" / "sentinel-password").write_text("wrong")
    assert unfit() == {"redis-0", "sentinel-0"}


def installed(fleet):
    """What the units start, from where `install.sh` puts it."""
    root = fleet.root / "installed"
    env = {"PATH": os.environ["PATH"], "DESTDIR": str(root)}
    assert ran("sh", DEPLOY / "systemd" / "install.sh", env=env)[1] == 0
    etc = root / "etc" / "aragora-redis"
    hasten(etc)
    fleet.secrets = etc / "secrets"
    (root / "opt" / "aragora-redis").mkdir(parents=True)
    (root / "opt" / "aragora-redis" / "bin").symlink_to(BIN)
    # A Redis and its Sentinel share an address here.
    fleet.hosts |= {f"sentinel-{number}": fleet.hosts[f"redis-{number}"] for number in NODES}
    for file in etc.glob("*.env"):
        text = file.read_text()
        for number in NODES:
            text = text.replace(f"127.0.0.1{1 + number}", fleet.hosts[f"redis-{number}"])
        text = text.replace("26379", str(fleet.sentinel_port))
        file.write_text(text.replace("6379", str(fleet.redis_port)))
    units = {}
    for name in (*fleet.hosts, "gateway"):
        part, dash, number = name.partition("-")
        credentials = fleet.root / name / "credentials"
        credentials.mkdir(parents=True)
        file = root / "etc" / "systemd" / "system" / f"aragora-{part}{dash and '@'}.service"
        text = re.sub("/(?=(etc|usr/local/lib|opt)/aragora-redis)", f"{root}/", file.read_text())
        specifiers = {"%i": number, "%S": str(fleet.root / "state"), "%d": str(credentials)}
        units[name] = parsed(text, specifiers)
        for each in units[name]["LoadCredential"]:
            called, _, source = each.partition(":")
            shutil.copy(source, credentials / called)
        for state in units[name].get("StateDirectory", []):
            (fleet.root / "state" / state).mkdir(parents=True)
        env = environment(units[name], Path("/"))
        fleet.programs[name] = (shlex.split(units[name]["ExecStart"][0]), env)
    return units


def test_what_the_units_start_outlives_its_primary(fleet):
    units = installed(fleet)

    def run(name, command):
        """As systemd does: with the environment of the start, and without its credentials."""
        (line,) = units[name][command]
        env = fleet.env | fleet.programs[name][1] | {"SECRETS": str(fleet.root / "gone")}
        said, code = ran(*shlex.split(line.lstrip("+")), env=env)
        assert code == 0, said

    for _ in outlives_its_primary(fleet):
        assert len(fleet.primaries()) == 1

    old = (fleet.secrets / "password").read_text()
    (fleet.secrets / "password-other").write_text(old)
    (fleet.secrets / "password").write_text("a new one")
    for number in NODES:
        run(f"redis-{number}", "ExecReload")
        for password in (old, "a new one"):
            assert fleet.ask(f"redis-{number}", "PING", password=password)

    stopped = until(fleet.primary)
    run(stopped, "ExecStop")
    assert until(lambda: (now := fleet.primary()) != stopped and now)
