"""A real Prometheus with our configuration, on a lab that fails over, then breaks."""

from __future__ import annotations

import json
from contextlib import contextmanager

import httpx
import pytest
import yaml
from tests.artefacts.programs import needs, program
from tests.artefacts.site import (
    DEPLOYED,
    objects,
    running,
    site,
    until,
)
from tests.integration.certificates import self_signed
from tests.ports import free_port

from aragora_redis.lab.server import find_server

pytestmark = needs("prometheus", "prometheus-redis-exporter")

TLS = DEPLOYED.parent / "k8s/redis/overlays/tls"
SCRAPED = 1
"""Seconds: to ask for all panels far more often is work for nothing."""
VARIABLES = {"$namespace": "aragora", "$__rate_interval": "20s"}


def at_once():
    """Our rules, without the time for which they wait."""
    (rules,) = objects("rules.yaml")
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return rules


def configuration(ours, rules):
    """Our prometheus.yml with the lab's targets, and seconds for its quarter minutes."""
    (config,) = objects("prometheus.yml")
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{SCRAPED}s")
    config["rule_files"] = [str(rules)]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    targets = {
        "redis": ours.targets("redis"),
        "redis-sentinel": ours.targets("sentinel"),
        "aragora-gateway": [ours.gateway],
    }
    for name, job in jobs.items():
        job["static_configs"][0]["targets"] = targets[name]
    for name in ("redis", "redis-sentinel"):
        jobs[name]["relabel_configs"][-1]["replacement"] = ours.exporter
    token = ours.lab.directory / "gateway-token"
    jobs["aragora-gateway"]["authorization"]["credentials_file"] = str(token)
    return yaml.safe_dump(config)


class Prometheus:
    """Its HTTP API."""

    def __init__(self, client):
        self._client = client

    def ask(self, path, **parameters):
        answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def firing(self, severity):
        found = self.query(f'ALERTS{{alertstate="firing", severity="{severity}"}}')
        return {each["metric"]["alertname"] for each in found}


@contextmanager
def prometheus(ours, directory):
    (directory / "rules.yaml").write_text(yaml.safe_dump(at_once()))
    (directory / "prometheus.yml").write_text(configuration(ours, directory / "rules.yaml"))
    url = f"http://127.0.0.1:{free_port()}"
    command = (
        str(program("prometheus")),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
    )
    with (
        running(directory / "prometheus.log", *command),
        httpx.Client(base_url=url, timeout=10) as client,
    ):
        until(lambda: ready(client))
        yield Prometheus(client)


def ready(client):
    try:
        return client.get("/-/ready").is_success
    except httpx.HTTPError:
        return False


def targets(server):
    return {
        (each["labels"]["job"], each["labels"]["instance"]): each["health"]
        for each in server.ask("targets", state="active")["activeTargets"]
    }


def panels():
    board = json.loads((DEPLOYED / "dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def without_data(server):
    """Panels that have an empty answer, or one of nothing but NaN."""
    return {
        title: expression
        for title, expression in panels()
        if all(each["value"][1] == "NaN" for each in server.query(expression))
    }


@pytest.mark.parametrize("kind", ["redis", "sentinel"])
def test_the_exporter_of_a_pod_reaches_both_beside_it_over_tls(tmp_path, kind):
    """With the variables and arguments of the overlay, where the authority is in a file."""
    port, listening = free_port(), free_port()
    self_signed(tmp_path, names=("localhost",))
    overlay = yaml.safe_load((TLS / "statefulset.yaml").read_text("utf-8"))["spec"]["template"]
    (added,) = (c for c in overlay["spec"]["containers"] if c["name"] == "exporter")
    (authority,) = added["env"]
    scheme = overlay["metadata"]["annotations"]["redis-scheme"]
    (tmp_path / "node.conf").write_text(
        f"port 0\ntls-port {port}\nbind 127.0.0.1\nrequirepass secret\n"
        f'dir "{tmp_path}"\ntls-cert-file cert.pem\ntls-key-file key.pem\n'
        "tls-ca-cert-file cert.pem\ntls-auth-clients no\n"
    )
    server = [str(find_server().path), "node.conf", *(["--sentinel"] if kind == "sentinel" else [])]
    exporter = [str(program("prometheus-redis-exporter")), f"-redis.addr={scheme}://localhost:1"]
    exporter.append(f"-web.listen-address=127.0.0.1:{listening}")
    env = {"REDIS_PASSWORD": "secret", authority["name"]: str(tmp_path / "cert.pem")}
    url = f"http://127.0.0.1:{listening}/scrape?target={scheme}://localhost:{port}"
    with (
        running(tmp_path / "server.log", *server),
        running(tmp_path / "exporter.log", *exporter, env=env),
    ):
        until(lambda: up(url), tell=(tmp_path / "exporter.log").read_text)


def up(url):
    try:
        return "\nredis_up 1\n" in httpx.get(url, timeout=5).text
    except httpx.HTTPError:
        return False


def test_prometheus_sees_a_failover_and_every_panel_has_data(tmp_path):
    with site(tmp_path) as ours, prometheus(ours, tmp_path) as server:
        expected = {("redis", each) for each in ours.targets("redis")}
        expected |= {("redis-sentinel", each) for each in ours.targets("sentinel")}
        expected |= {("aragora-gateway", ours.gateway)}
        until(lambda: targets(server) == dict.fromkeys(expected, "up"))
        until(lambda: len(server.query("redis_up == 1")) == 6)
        until(lambda: server.query("redis_replication_lag"))
        until(lambda: server.query("redis_master_link_status"))
        until(lambda: not server.firing("critical"))

        ours.fail_over()
        until(lambda: "AragoraFailoverSeen" in server.firing("info"))
        until(
            lambda: not without_data(server), every=SCRAPED / 2, tell=lambda: without_data(server)
        )
        # Which looks back a minute, and waits for longer than this test can.
        until(lambda: server.firing("critical") <= {"AragoraLimitsUnavailable"})

        for node in ("replica-0", "replica-1", "sentinel-1", "sentinel-2"):
            ours.lab.kill(node)
        until(lambda: {"RedisNoGoodReplica", "RedisQuorumLost"} <= server.firing("critical"))
        until(lambda: "RedisUnreachable" in server.firing("warning"))
        # The guide's own row sees nothing of it.
        assert "RedisSentinelMasterStatus" not in server.firing("critical")

        rules = [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]
        assert len(rules) == sum(len(group["rules"]) for group in at_once()["groups"])
        assert {rule["health"] for rule in rules} == {"ok"}
