"""Processes on addresses of their own that stand for the pods of a Redis Cluster.

They are started by the programs of deploy/redis, know each other by names, and have another address
whenever they come back.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.integration.certificates import self_signed
from tests.integration.pods import BIN, BIND_HOSTS, DEPLOY, SECRETS, busybox, until

from aragora_redis.lab import network
from aragora_redis.slots import SLOTS
from aragora_redis.topology.nodes import read_rows

NODES, PRIMARIES = 6, 3
NODE_TIMEOUT_MS = 1000
LOOK = 0.3
"""Seconds: each look asks six nodes, or runs a program for each."""
USERS = {"default": "password", "node": "internal-password", "operator": "operator-password"}
ANSWERS: Mapping[str, Any] = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "decode_responses": True,
}


class ClusterPod:
    """One node, with a directory that outlives its process."""

    def __init__(self, site, ordinal):
        self.site = site
        self.name = f"redis-{ordinal}"
        self.machine = f"host-{ordinal % PRIMARIES}"
        self.data = site.root / self.name
        self.data.mkdir()
        self.process: Any = None
        self.host = site.new_host(self)

    @property
    def env(self):
        return self.site.env | {
            "NODE": self.name,
            "ADDRESS": self.host,
            "MACHINE": self.machine,
            "DATA": str(self.data),
            "BIND": self.host,
            "LOCAL": self.host,
        }

    def start(self, **env):
        with (self.site.root / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.site.inside, "sh", DEPLOY / "cluster-start.sh"],
                env=self.env | env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, name, *words, **env):
        """Another program of this node: its exit code and what it says."""
        done = subprocess.run(
            [*self.site.inside, "sh", DEPLOY / f"cluster-{name}.sh", *words],
            env=self.env | env,
            check=False,
            capture_output=True,
            text=True,
            timeout=40,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def kill(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def end(self):
        """As Kubernetes ends a pod."""
        said = self.run("handover")
        self.process.terminate()
        self.process.wait(20)
        # What kept it in its place ends with the container.
        self.kill()
        return said

    def move(self):
        self.host = self.site.new_host(self)

    def lose_volume(self):
        shutil.rmtree(self.data)
        self.data.mkdir()

    def ask(self, *words, user="operator", secret=None):
        with redis.Redis(
            self.host,
            self.site.port,
            username=user,
            password=secret or SECRETS[USERS[user]],
            retry=Retry(NoBackoff(), 0),
            **self.site.encryption,
            **ANSWERS,
        ) as client:
            return client.execute_command(*words)

    def rows(self):
        """What it says of all nodes; nothing where it does not answer."""
        try:
            # As it stands: redis-py makes a dictionary of it.
            return read_rows(self.ask("EVAL", "return redis.call('CLUSTER', 'NODES')", 0))
        except redis.RedisError:
            return ()

    @property
    def me(self):
        return next((row for row in self.rows() if row.mine), None)

    @property
    def leads(self):
        return (me := self.me) is not None and bool(me.slots)

    def log(self):
        file = self.site.root / f"{self.name}.log"
        return file.read_text("utf-8", "replace") if file.exists() else ""


class ClusterSite:
    """Six pods."""

    encryption: Mapping[str, Any] = MappingProxyType({})
    """What a client needs for TLS."""

    def __init__(self, root):
        self.root = root
        self._net = network.choose()
        self._numbers = itertools.count(10)
        self.names = root / "hosts"
        self.inside = ("unshare", "--mount", "sh", "-c", BIND_HOSTS, self.names)
        self.port = self._free_port()
        config, secrets = root / "config", root / "secrets"
        config.mkdir()
        secrets.mkdir()
        text = (DEPLOY / "redis-cluster.conf").read_text("utf-8")
        assert "cluster-node-timeout 5000" in text
        (config / "redis-cluster.conf").write_text(
            text.replace("cluster-node-timeout 5000", f"cluster-node-timeout {NODE_TIMEOUT_MS}")
        )
        for name, value in SECRETS.items():
            (secrets / name).write_text(value + "\n", "utf-8")
        self.env = {
            "PATH": os.pathsep.join((str(busybox(root)), str(BIN), os.environ["PATH"])),
            "PEERS": " ".join(f"redis-{ordinal}.redis" for ordinal in range(NODES)),
            "REDIS_PORT": str(self.port),
            "CONFIG": str(config),
            "SECRETS": str(secrets),
        }
        self.pods = []
        for ordinal in range(NODES):
            self.pods.append(ClusterPod(self, ordinal))
        self.publish()

    def new_host(self, _pod):
        return f"{self._net}.{next(self._numbers)}"

    def _free_port(self):
        """One that is free with the bus's beside it, both below those of outgoing connections."""
        while True:
            port = random.randrange(11_000, 21_000)
            try:
                for each in (port, port + 10_000):
                    socket.create_server((f"{self._net}.1", each)).close()
            except OSError:
                continue
            return port

    def publish(self):
        """Let the names lead where the pods are. The file is mounted, so it stays the same one."""
        lines = (f"{pod.host} {pod.name}.redis\n" for pod in self.pods)
        self.names.write_text("".join(lines))

    def start(self, *pods):
        for pod in pods or self.pods:
            pod.start()

    def kill(self):
        for pod in self.pods:
            pod.kill()

    def shards(self):
        """Each primary with its replica, by name, where all nodes agree on all and miss nobody."""
        layouts = set()
        for pod in self.pods:
            rows = pod.rows()
            if len(rows) != NODES or not all(row.linked and not row.down for row in rows):
                return None
            if {row.address.host for row in rows} != {each.host for each in self.pods}:
                return None
            layouts.add(
                frozenset((row.name, row.node_id, row.primary_id, row.slots) for row in rows)
            )
        if len(layouts) != 1:
            return None
        (layout,) = layouts
        names = {node_id: name.removesuffix(".redis") for name, node_id, *_ in layout}
        slots = sum(len(run) for *_, held in layout for run in held)
        follow = {names[primary]: names[node] for _, node, primary, _ in layout if primary}
        return follow if (slots, len(follow)) == (SLOTS, PRIMARIES) else None

    def run(self, *words):
        """A program at every node, at once; what those say that fail."""
        with ThreadPoolExecutor() as pool:
            done = pool.map(lambda pod: pod.run(*words), self.pods)
            return [said for code, said in done if code]

    def ready(self):
        """Whether Kubernetes would count on all pods."""
        return not self.run("probe", "ready")

    def replica_of(self, primary):
        return self.pods[int(self.shards()[primary.name][-1])]

    def use_tls(self):
        """Encrypt everything. The certificate is for the names of the pods."""
        folder = self.root / "tls"
        folder.mkdir()
        self_signed(folder, names=self.env["PEERS"].split())
        shutil.copy(folder / "cert.pem", folder / "ca.crt")
        (folder / "cert.pem").rename(folder / "tls.crt")
        (folder / "key.pem").rename(folder / "tls.key")
        self.env["TLS"] = str(folder)
        authority = str(folder / "ca.crt")
        # Names are known to the pods alone.
        self.encryption = {"ssl": True, "ssl_ca_certs": authority, "ssl_check_hostname": False}

    def client(self):
        """An application that knows one node."""
        hosts = {f"{pod.name}.redis": pod.host for pod in self.pods}
        return redis.RedisCluster(
            self.pods[-1].host,
            self.port,
            password=SECRETS["password"],
            address_remap=lambda at: (hosts.get(at[0], at[0]), at[1]),
            **self.encryption,
            **ANSWERS,
        )

    def settle(self):
        """Wait until all is well; what `shards` says then."""
        shards = until(self.shards, 30.0, every=LOOK)
        until(self.ready, every=LOOK)
        return shards
