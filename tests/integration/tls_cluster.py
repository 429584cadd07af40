"""A Redis Cluster on TLS alone, whose nodes go by names as those of cloud services do."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import redis
from redis.crc import key_slot
from tests.integration.certificates import Authority
from tests.integration.past import age_era

from aragora_redis.address import Address
from aragora_redis.lab.network import choose
from aragora_redis.lab.ports import free_ports
from aragora_redis.slots import SLOTS
from aragora_redis.tokens.entry import SHARDS
from aragora_redis.tokens.operations import ShardKeys
from aragora_redis.topology.nodes import read_rows

PASSWORD = "a-password-for-the-test"
DOMAIN = "cache.example"
ENDPOINT = f"clustercfg.{DOMAIN}"
CONFIG = """\
port 0
tls-port {port}
bind {host}
tls-cluster yes
tls-replication yes
tls-auth-clients no
tls-cert-file cert.pem
tls-key-file key.pem
tls-ca-cert-file {ca}
requirepass {password}
masterauth {password}
dir "{directory}"
save ""
repl-diskless-sync-delay 0
repl-ping-replica-period 1
cluster-enabled yes
cluster-node-timeout 1000
cluster-require-full-coverage no
cluster-allow-replica-migration no
cluster-announce-ip {host}
"""


def wait(condition, within=20.0):
    """Wait for a condition; returns its value."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.02)
    return value


@dataclass
class Node:
    """A server, and the name that leads to it."""

    name: str
    host: str
    port: int
    process: subprocess.Popen[str]

    def __post_init__(self):
        self.client = redis.Redis(
            self.host, self.port, password=PASSWORD, socket_timeout=10, **_TLS
        )

    @property
    def address(self):
        """As clients are to call it."""
        return Address(self.name, self.port)

    def ask(self, *words):
        # As several words: redis-py would take the answers to some that are one apart.
        return self.client.execute_command(*words)

    def rows(self):
        return read_rows(self.ask("CLUSTER", "NODES"))

    @property
    def row(self):
        return next(row for row in self.rows() if row.mine)

    @property
    def primary(self):
        return self.row.primary_id is None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.client.close()
        self.process.kill()
        self.process.wait()


_TLS: dict[str, Any] = {
    "ssl": True,
    "ssl_cert_reqs": "none",
    "ssl_check_hostname": False,
    "decode_responses": True,
}


class TlsCluster:
    """Starts nodes, joins them, and writes the hosts file that clients go by.

    Args:
        endpoint: the one name that clients are given; every certificate carries it.
    """

    def __init__(self, directory, server, *, endpoint=ENDPOINT):
        self.authority = Authority(directory)
        self.endpoint = endpoint
        self.hosts = directory / "hosts"
        self.network = choose()
        self.nodes: list[Node] = []
        self._directory = directory
        self._server = server
        self._stack = ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._stack.close()

    def start(self, name, number, port):
        """Start a node at the `number`-th address; it announces `name`, if that is not empty."""
        host = f"{self.network}.{number}"
        directory = self._directory / f"{number}-{port}"
        directory.mkdir()
        self.authority.certify(directory, *filter(None, (name, self.endpoint)))
        text = CONFIG.format(
            port=port, host=host, ca=self.authority.file, password=PASSWORD, directory=directory
        )
        if name:
            text += f"cluster-announce-hostname {name}\n"
        (directory / "redis.conf").write_text(text)
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(
                [self._server.path, "redis.conf"],
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        node = Node(name or self.endpoint, host, port, process)
        self._stack.callback(node.kill)
        self.nodes.append(node)
        wait(lambda: _answers(node))
        return node

    def begin(self, primaries, replicas):
        """Nodes that have a name and an address each and one port, as those of ElastiCache."""
        (port,) = free_ports(1, 0, bus=True).data
        for number in range(primaries + replicas):
            self.start(f"node-{number}.{DOMAIN}", 10 + number, port)
        self.form(primaries)
        self.prefer("hostname")
        self.publish()

    def drop(self, node):
        """End a node that lives, and have the others forget it."""
        gone = node.row.node_id
        self.end(node)
        self.forget(gone)

    def end(self, node):
        """Kill a node."""
        node.kill()
        self.nodes.remove(node)

    def forget(self, gone):
        """Have all forget a node that nobody follows any more."""
        wait(lambda: all(node.row.primary_id != gone for node in self.nodes))
        for node in self.nodes:
            node.ask("CLUSTER", "FORGET", gone)

    def form(self, primaries):
        """Make a cluster: slots for the first nodes, then a replica for each of them in turn."""
        for number, node in enumerate(self.nodes[:primaries]):
            first, last = (round(SLOTS * each / primaries) for each in (number, number + 1))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
        self.meet(*self.nodes[1:])
        for node, of in zip(self.nodes[primaries:], self.nodes, strict=False):
            self.replicate(node, of)
        wait(self.whole)

    def meet(self, *newcomers):
        """Have nodes join, and wait until all know each other."""
        member = next(node for node in self.nodes if node not in newcomers)
        for node in newcomers:
            node.ask("CLUSTER", "MEET", member.host, member.port)
        ids = {node.row.node_id for node in self.nodes}
        wait(lambda: all({r.node_id for r in n.rows() if r.known} == ids for n in self.nodes))

    def replicate(self, node, primary):
        """Make a node a replica, and wait until it follows."""
        wanted = primary.row.node_id
        wait(lambda: wanted in {row.node_id for row in node.rows() if row.known})
        node.ask("CLUSTER", "REPLICATE", wanted)
        wait(lambda: node.client.info("replication").get("master_link_status") == "up")

    def double(self, node, primary):
        """Start another one under a node's name, at another address, as a replica of `primary`."""
        taken = {each.host for each in self.nodes}
        number = next(n for n in range(20, 30) if f"{self.network}.{n}" not in taken)
        made = self.start(node.name, number, node.port)
        self.prefer("hostname")
        self.meet(made)
        self.replicate(made, primary)
        wait(self.whole)
        return made

    def whole(self):
        """Whether all nodes agree, and know each other by name."""
        views = [node.rows() for node in self.nodes]
        told = {
            frozenset((row.node_id, row.primary_id, row.slots, row.name) for row in rows)
            for rows in views
        }
        linked = all(row.linked and not row.down for rows in views for row in rows)
        linked &= all("cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in self.nodes)
        held = sum(len(run) for row in views[0] for run in row.slots)
        return len(told) == 1 and linked and held == SLOTS and len(views[0]) == len(self.nodes)

    def prefer(self, kind):
        """Choose what redirections call nodes by."""
        for node in self.nodes:
            node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", kind)

    def publish(self, *first):
        """Write the hosts file: the endpoint leads to `first`, then to all that live."""
        hosts = [*first, *(node.host for node in self.nodes)]
        lines = [f"{host} {self.endpoint}" for host in hosts]
        # Who came last has a name.
        lines += [f"{node.host} {node.name}" for node in reversed(self.nodes)]
        self.hosts.write_text("\n".join(lines) + "\n")

    def env(self):
        """The settings of a client: one name, and the authority."""
        return {
            "ARAGORA_REDIS_CLUSTER_NODES": f"{self.endpoint}:{self.nodes[0].port}",
            "ARAGORA_REDIS_TLS": "true",
            "ARAGORA_REDIS_TLS_CA": str(self.authority.file),
            "ARAGORA_REDIS_PASSWORD": PASSWORD,
            "ARAGORA_REDIS_HOSTS_FILE": str(self.hosts),
        }

    def age(self):
        """Make eras that a failover opened a moment ago as old as a starter trusts at once."""
        for index in range(SHARDS):
            keys = ShardKeys("aragora", index)
            age_era(self.owner(key_slot(keys.head)).client, keys)

    def owner(self, slot):
        """The primary of a slot, by its own word."""
        return next(
            node
            for node in self.nodes
            if node.process.poll() is None
            and node.primary
            and any(slot in run for run in node.row.slots)
        )

    def move(self, slot, target, *, meanwhile=lambda: None):
        """Move a slot with its keys, pausing while it is between the two."""
        source = self.owner(slot)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.row.node_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.row.node_id)
        meanwhile()
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask(
                "MIGRATE", target.host, target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys
            )
        meanwhile()
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.row.node_id)


def _answers(node):
    assert node.process.poll() is None, "see the log beside redis.conf"
    try:
        return node.client.ping()
    except redis.RedisError:
        return False
