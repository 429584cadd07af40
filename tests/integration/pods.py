"""Processes on addresses of their own that stand for pods: a Redis and a Sentinel each.

They are started by the programs of deploy/redis, with a directory that outlives them.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.artefacts.programs import program
from tests.integration.certificates import self_signed

from aragora_redis.lab import network

DEPLOY = Path(__file__).parents[2] / "deploy" / "redis"
BIN = Path(sys.executable).parent
MASTER = "aragora-master"
SECRETS = {
    "password": 'a "quoted\\ $word with spaces',
    "sentinel-password": "for-those-who-ask",
    "internal-password": 'between "servers\\ $alone',
    "operator-password": "may-do-all",
    "monitor-password": "may-look",
}
BIND_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'

needs_addresses = pytest.mark.skipif(
    not network.has_addresses(network.choose()), reason="only one loopback address"
)


class Pod:
    """One Redis and one Sentinel on one address."""

    def __init__(self, site, ordinal):
        self.name = f"redis-{ordinal}"
        self.host = site.hosts[ordinal]
        self.announced = ({self.host}, {f"{self.name}.redis"})
        self.site = site
        self.data = site.root / self.name
        self.processes = {}
        for part in ("redis", "sentinel"):
            (self.data / part).mkdir(parents=True)

    def start(self, *parts, **env):
        for part in parts or ("sentinel", "redis"):
            with (self.site.root / f"{self.name}-{part}.log").open("ab") as log:
                self.processes[part] = subprocess.Popen(
                    [*self.site.inside, "sh", DEPLOY / "start.sh", part],
                    env=self.site.env
                    | {"NODE": self.name, "DATA": str(self.data / part), "BIND": self.host}
                    | env,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def run(self, program, *words, **env):
        """Another program of this node."""
        return subprocess.run(
            [*self.site.inside, "sh", DEPLOY / f"{program}.sh", *words],
            env=self.site.env | {"NODE": self.name, "LOCAL": self.host} | env,
            check=False,
            capture_output=True,
            text=True,
            timeout=40,
        )

    def probe(self, part, what):
        main = self.processes[part].pid
        done = self.run("probe", part, what, MAIN_PID=str(main), DATA=str(self.data / part))
        return done.returncode, done.stdout.strip()

    def signal(self, part, number):
        os.killpg(self.processes[part].pid, number)

    def kill(self, *parts):
        for part in parts or ("redis", "sentinel"):
            process = self.processes.pop(part, None)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def lose_volume(self):
        shutil.rmtree(self.data)
        for part in ("redis", "sentinel"):
            (self.data / part).mkdir(parents=True)

    def client(self, *, sentinel=False, user=None, secret=None):
        """An application at the server, the operator at the Sentinel."""
        user = user or ("operator" if sentinel else "default")
        return redis.Redis(
            self.host,
            self.site.sentinel_port if sentinel else self.site.redis_port,
            username=user,
            password=secret or self.site.secret_of(user, sentinel=sentinel),
            **self.site.encryption,
            socket_timeout=1,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            driver_info=None,  # there are thousands, and each would look its version up
        )

    def ask(self, *words, **who):
        with self.client(**who) as client:
            return client.execute_command(*words)

    def write(self, key, value, replicas=2):
        """Have so many replicas hold it."""
        with self.client() as client:
            client.set(key, value)
            until(lambda: client.execute_command("WAIT", replicas, 500) >= replicas)

    def hurry(self, what, milliseconds):
        """Have the Sentinel do something as often as that; whether it answers."""
        try:
            self.ask("SENTINEL", "DEBUG", what, milliseconds, sentinel=True)
        except redis.ResponseError:
            return True  # Redis 6.2 cannot be told
        except redis.RedisError:
            return False
        return True

    def can_write(self, key):
        try:
            return bool(self.ask("SET", key, "1"))
        except redis.RedisError:
            return False

    def role(self):
        try:
            return self.ask("ROLE")[0]
        except redis.RedisError:
            return None

    def log(self, part):
        if not (self.site.root / f"{self.name}-{part}.log").exists():
            return ""
        return (self.site.root / f"{self.name}-{part}.log").read_text("utf-8", "replace")


class Site:
    """Three pods."""

    inside: tuple[object, ...] = ()
    """What each process is started with."""
    encryption: Mapping[str, Any] = MappingProxyType({})
    """What a client needs for TLS."""

    def __init__(self, root):
        self.root = root
        net = network.choose()
        self.hosts = [f"{net}.{10 + ordinal}" for ordinal in range(3)]
        self.redis_port, self.sentinel_port = free_ports(self.hosts)
        config, secrets = root / "config", root / "secrets"
        config.mkdir()
        secrets.mkdir()
        for name in ("redis-master.conf", "redis-replica.conf", "sentinel.conf"):
            text = (DEPLOY / name).read_text("utf-8")
            # What takes five seconds in production takes one here.
            text = text.replace(f"{MASTER} 5000", f"{MASTER} 1000")
            text = text.replace(f"{MASTER} 60000", f"{MASTER} 6000")
            (config / name).write_text(text, "utf-8")
        for name, value in SECRETS.items():
            (secrets / name).write_text(value + "\n", "utf-8")
        self.env = {
            "PATH": os.pathsep.join((str(busybox(root)), str(BIN), os.environ["PATH"])),
            "PEERS": " ".join(self.hosts),
            "REDIS_PORT": str(self.redis_port),
            "SENTINEL_PORT": str(self.sentinel_port),
            "CONFIG": str(config),
            "SECRETS": str(secrets),
            "BOOTSTRAP_WAIT": "2",
            "PRIMARY_WAIT": "5",
        }
        self.pods = [Pod(self, ordinal) for ordinal in range(3)]

    def use_names(self):
        """Know the pods by names, which resolve to nothing until `publish`."""
        self.names = self.root / "hosts"
        self.names.touch()
        self.inside = ("unshare", "--mount", "sh", "-c", BIND_HOSTS, self.names)
        self.env["PEERS"] = " ".join(f"{pod.name}.redis" for pod in self.pods)

    def publish(self, *pods):
        """Let these names resolve. The file is mounted, so it must stay the same one."""
        with self.names.open("a") as hosts:
            hosts.writelines(f"{pod.host} {pod.name}.redis\n" for pod in pods)

    def use_tls(self):
        """Encrypt everything."""
        folder = self.root / "tls"
        folder.mkdir()
        self_signed(folder, days=90, hosts=self.hosts)
        shutil.copy(folder / "cert.pem", folder / "ca.crt")
        (folder / "cert.pem").rename(folder / "tls.crt")
        (folder / "key.pem").rename(folder / "tls.key")
        self.env["TLS"] = str(folder)
        self.encryption = {"ssl": True, "ssl_ca_certs": str(folder / "ca.crt")}

    def secret_of(self, user, *, sentinel):
        applications = "sentinel-password" if sentinel else "password"
        name = {"default": applications, "replica": "internal-password"}.get(
            user, f"{user}-password"
        )
        return (self.root / "secrets" / name).read_text("utf-8").removesuffix("\n")

    def application_env(self):
        """What an application is given."""
        return {
            "ARAGORA_REDIS_SENTINEL_MASTER": MASTER,
            "ARAGORA_REDIS_SENTINEL_HOSTS": ",".join(
                f"{host}:{self.sentinel_port}" for host in self.hosts
            ),
            "ARAGORA_REDIS_PASSWORD": SECRETS["password"],
            "ARAGORA_REDIS_SENTINEL_PASSWORD": SECRETS["sentinel-password"],
        } | (
            {"ARAGORA_REDIS_TLS": "true", "ARAGORA_REDIS_TLS_CA": self.encryption["ssl_ca_certs"]}
            if self.encryption
            else {}
        )

    def start(self):
        for pod in self.pods:
            pod.start()

    def start_at_once(self):
        """A first start that waits for nobody, and Sentinels that soon know all; the primary.

        How a first start waits is the subject of `test_start_program`.
        """
        for pod in self.pods:
            pod.start("sentinel", BOOTSTRAP_WAIT="0")
        for pod in self.pods:
            until(lambda pod=pod: pod.hurry("publish-period", "250"))
        for pod in self.pods:
            pod.start("redis")
        primary = until(self.primary)
        for pod in self.pods:
            pod.hurry("publish-period", "2000")
        return primary

    def kill(self):
        for pod in self.pods:
            pod.kill()

    def primary(self):
        """The one that all Sentinels name, that says so itself, and that both others follow.

        The Sentinels must know all of that too, or they could not replace it.
        """
        named = set()
        for pod in self.pods:
            try:
                pod.hurry("info-period", "300")
                with pod.client(sentinel=True) as client:
                    found = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
                    master = client.sentinel_master(MASTER)
                    replicas = client.sentinel_slaves(MASTER)
            except redis.RedisError:
                return None
            named.add(found[0] if found else None)
            knows = (master["num-slaves"], master["num-other-sentinels"])
            if knows != (2, 2) or any(each["is_sdown"] for each in replicas):
                return None
        chosen = next((pod for pod in self.pods if named in pod.announced), None)
        if chosen is None or chosen.role() != "master":
            return None
        followers = str(chosen.ask("INFO", "replication")).count("online")
        return chosen if followers == 2 else None

    def named(self):
        """The one that all Sentinels that answer name, if it says so itself."""
        named = set()
        for pod in self.pods:
            with contextlib.suppress(redis.RedisError):
                named |= {pod.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER, sentinel=True)[0]}
        chosen = next((pod for pod in self.pods if named in pod.announced), None)
        return chosen if chosen and chosen.role() == "master" else None

    def primaries(self):
        return [pod for pod in self.pods if pod.role() == "master"]


def busybox(root):
    """The shell and the tools of redis:7-alpine, where this machine has them, else none."""
    tools = root / "tools"
    tools.mkdir()
    if found := program("busybox"):
        subprocess.run([found, "--install", "-s", tools], check=True)
    return tools


def free_ports(hosts):
    """Two ports that are free on all of these, below those of outgoing connections."""
    while True:
        ports = random.sample(range(11_000, 31_000), 2)
        with contextlib.ExitStack() as probes:
            try:
                for host in hosts:
                    for port in ports:
                        probes.enter_context(socket.create_server((host, port)))
            except OSError:
                continue
        return ports


def until(condition, within=60.0, every=0.05):
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(every)
    return value
