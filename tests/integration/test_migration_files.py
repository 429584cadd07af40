"""deploy/k8s/redis/migration: what its pods run takes a replica from its start to its promotion."""

from __future__ import annotations

import contextlib
import re
import subprocess
from typing import Any

import pytest
import redis
import yaml
from tests.integration.pods import DEPLOY, MASTER, SECRETS, needs_addresses, until
from tests.integration.rights import needs_readable_copies

from aragora_redis.lab.server import find_server

pytestmark = [needs_addresses, pytest.mark.timeout(120)]

FILES = DEPLOY.parent / "k8s" / "redis" / "migration"


def objects(name):
    return list(yaml.safe_load_all((FILES / name).read_text("utf-8")))


def container_of(name) -> Any:
    (stateful,) = (each for each in objects(name) if each["kind"] == "StatefulSet")
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    return container


class Single:
    """A Redis that knows a password and no users."""

    def __init__(self, site):
        self.host = f"{site.hosts[0].rpartition('.')[0]}.20"
        self.port = site.redis_port
        self.data = site.root / "single"
        self.data.mkdir()
        self.config = site.root / "single.conf"
        password = SECRETS["password"].replace("\\", "\\\\").replace('"', '\\"')
        self.config.write_text(
            f'bind {self.host}\nport {self.port}\nrequirepass "{password}"\nappendonly yes\n'
            f"appendfsync always\nrepl-diskless-sync-delay 0\ndir {self.data}\nprotected-mode no\n"
        )
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [find_server().path, self.config], stdout=subprocess.DEVNULL, start_new_session=True
        )
        until(lambda: self.role() == "master")

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def client(self):
        return redis.Redis(
            self.host, self.port, password=SECRETS["password"], decode_responses=True
        )

    def info(self):
        return self.client().info("replication")

    def role(self):
        with contextlib.suppress(redis.RedisError):
            return self.info()["role"]


class Deployed:
    """The containers of the two files as processes, with the addresses of processes."""

    def __init__(self, site, single):
        self.site, self.single = site, single
        self.programs = site.root / "programs"
        self.programs.mkdir()
        given = objects("redis-replica.yaml")
        settings, programs = (each["data"] for each in given if each["kind"] == "ConfigMap")
        self.settings = settings | {"host": single.host, "port": str(single.port)}
        for name, text in programs.items():
            hurried = text.replace(f"{MASTER} 5000", f"{MASTER} 1000")
            hurried = hurried.replace(f"{MASTER} 60000", f"{MASTER} 2000")
            (self.programs / name).write_text(hurried)

    def environment(self, pod, part, container):
        env: dict[str, str] = {}
        for each in container["env"]:
            source = each.get("valueFrom", {})
            if "fieldRef" in source:
                value = pod.name
            elif "configMapKeyRef" in source:
                value = self.settings[source["configMapKeyRef"]["key"]]
            else:
                value = re.sub(r"\$\((\w+)\)", lambda found: env[found[1]], each["value"])
            env[each["name"]] = value
        hosts = dict.fromkeys(env.keys() & {"PEERS", "SENTINELS"}, " ".join(self.site.hosts))
        here = {"DATA": str(pod.data / part), "CONFIG": str(self.programs)}
        where = here | {"BIND": pod.host, "LOCAL": pod.host, "BOOTSTRAP_WAIT": "0"}
        return self.site.env | env | hosts | where

    def start(self, pod, part):
        container = container_of(
            "redis-replica.yaml" if part == "redis" else "sentinel-deployment.yaml"
        )
        with (self.site.root / f"{pod.name}-{part}.log").open("ab") as log:
            pod.processes[part] = subprocess.Popen(
                [word.replace("/mnt/config", str(self.programs)) for word in container["command"]],
                env=self.environment(pod, part, container),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def let_be_elected(self, pod):
        return subprocess.run(
            ["sh", self.programs / "electable.sh"],
            env=self.environment(pod, "redis", container_of("redis-replica.yaml")),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def seen_by(self, pod):
        """A Sentinel's primary, its number of replicas and of Sentinels, and whether it is down."""
        with contextlib.suppress(redis.RedisError), pod.client(sentinel=True) as client:
            row: Any = client.sentinel_master(MASTER)
            return row["ip"], row["num-slaves"], row["num-other-sentinels"], row["is_sdown"]

    def all_see(self, primary):
        """Whether all Sentinels know that one, its replica and each other."""
        return {self.seen_by(pod) for pod in self.site.pods} == {(primary.host, 1, 2, False)}


@pytest.fixture
def single(site):
    single = Single(site)
    yield single
    single.kill()


@needs_readable_copies
def test_the_guides_steps_lead_from_a_single_redis_to_three_nodes(site, single, cli):
    deployed = Deployed(site, single)
    replica, second, _ = site.pods
    single.start()
    single.client().mset({f"order-{number}": number for number in range(100)})

    # Step 1 and 2
    deployed.start(replica, "redis")
    until(lambda: replica.role() == "slave" and replica.ask("DBSIZE") == 100)
    until(lambda: replica.ask("INFO", "replication")["master_link_status"] == "up")

    # Step 3
    for pod in site.pods:
        deployed.start(pod, "sentinel")
    for pod in site.pods:
        until(lambda pod=pod: pod.hurry("publish-period", "250"))
        pod.hurry("info-period", "300")
    until(lambda: deployed.all_see(single))
    single.kill()
    until(lambda: any("abort-no-good-slave" in pod.log("sentinel") for pod in site.pods))
    assert replica.role() == "slave"
    assert "refused: this node is no replica" in deployed.let_be_elected(replica).stderr
    single.start()
    until(lambda: deployed.all_see(single))
    until(lambda: replica.ask("INFO", "replication")["master_link_status"] == "up")

    # Step 5
    single.client().set("last", "1")
    done = deployed.let_be_elected(replica)
    assert done.returncode == 0, done.stderr
    assert SECRETS["password"] not in done.stderr
    until(lambda: "OK" in failover(cli, site, replica, "--dry-run"))
    assert "nothing acknowledged was lost" in failover(cli, site, replica)
    assert replica.ask("MGET", "order-99", "last") == ["99", "1"]
    assert single.info()["master_link_status"] == "up"

    # Its fellow follows it and not the single Redis. That one is retired, and forgotten.
    deployed.start(second, "redis")
    until(lambda: str(replica.ask("INFO", "replication")).count("online") == 2)
    single.kill()
    replica.write("kept", "yes", replicas=1)
    for pod in site.pods:
        pod.ask("SENTINEL", "RESET", MASTER, sentinel=True)
        until(lambda pod=pod: deployed.seen_by(pod) == (replica.host, 1, 2, False))
    replica.kill("redis")
    until(lambda: second.role() == "master")
    single.start()
    # The one user of all is given up, node by node.
    deployed.settings["user"] = ""
    deployed.start(replica, "redis")
    until(lambda: replica.role() == "slave")
    assert replica.ask("INFO", "replication")["master_host"] == second.host
    until(lambda: replica.ask("GET", "kept") == "yes")


def failover(cli, site, replica, *words):
    where = site.application_env() | {
        "ARAGORA_REDIS_SENTINEL_USERNAME": "operator",
        "ARAGORA_REDIS_SENTINEL_PASSWORD": SECRETS["operator-password"],
    }
    to = f"{replica.host}:{site.redis_port}"
    return cli("failover", "--to", to, *words, **where)[1]
