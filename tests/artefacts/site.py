"""A lab with exporters and a gateway in use, as deploy/monitoring would have them watched."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import redis
import yaml
from tests.artefacts.programs import program
from tests.ports import free_port

from aragora_redis.address import Address
from aragora_redis.lab import Lab, State
from aragora_redis.ops.gateway_process import GatewayProcess, end_gateways

DEPLOYED = Path(__file__).parents[2] / "deploy" / "monitoring"
MONITOR_PASSWORD = "may-look"
KEYS = """\
{"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1",
"x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
"y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}
"""
"""What an issuer publishes: the public key of RFC 7517, appendix A.1."""
SEEN = 'failovers_total{features="all"} 1.0'
"""In the metrics of a gateway that has seen one failover."""
POLICIES = """\
[limits.api]
rate = "1000/second"

[limits.strict]
rate = "1/second"
on_outage = "fail-closed"
"""


def objects(name: str) -> list[dict[str, Any]]:
    """The objects of a file of deploy/monitoring."""
    return list(yaml.safe_load_all((DEPLOYED / name).read_text("utf-8")))


def until(
    condition: Callable[[], Any],
    within: float = 30.0,
    *,
    every: float = 0.05,
    tell: Callable[[], Any] = lambda: "",
) -> Any:
    """Wait for a condition and return its value; what `tell` says goes into the failure."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s {tell()}"
        time.sleep(every)
    return value


@contextmanager
def running(log: Path, *command: str, env: Mapping[str, str] | None = None) -> Iterator[None]:
    """A process for the time of the block; ended by its id, however the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=log.parent)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Site:
    """What runs, and where Prometheus finds it."""

    lab: Lab
    exporter: str
    """As host:port."""
    gateway: str

    def targets(self, kind: str) -> list[str]:
        """The lab's servers (`redis`) or Sentinels (`sentinel`)."""
        nodes = self.lab.status().nodes
        return [f"127.0.0.1:{node.port}" for node in nodes if node.kind == kind]

    def scrape(self, target: str) -> str:
        """What Prometheus would be told of a node."""
        port = self.lab.node(target).port
        return _text(f"http://{self.exporter}/scrape?target=redis://127.0.0.1:{port}")

    def metrics(self) -> str:
        """What Prometheus would be told by the gateway."""
        return _text(f"http://{self.gateway}/metrics")

    def fail_over(self) -> None:
        """Freeze the primary until it is replaced, and wait until all is well again."""
        old = self.lab.primary()
        self.lab.freeze(old)
        until(
            lambda: (
                self.lab.primary() != old
                and 'failovers_total{features="all"} 1.0' in self.metrics()
            )
        )
        self.lab.thaw(old)
        until(lambda: self.lab.node("primary").state is State.RUNNING)
        until(lambda: "redis_connected_slaves 2\n" in self.scrape("primary"))
        until(lambda: "redis_master_link_up" in self.scrape(old))
        until(lambda: 'aragora_redis_degraded{features="all"} 0.0' in self.metrics())
        until(lambda: "aragora_redis_replica_lag_bytes{" in self.metrics())
        until(lambda: 'phase="first-write"' in self.metrics())


@contextmanager
def site(directory: Path) -> Iterator[Site]:
    """A usable lab, the exporter with the arguments of the manifest, and a gateway in use."""
    lab = Lab.create(directory / "lab", "sentinel", ports="free")
    with ExitStack() as stack:
        stack.callback(lab.stop)
        lab.start()
        for node in lab.status().nodes:
            _let_monitor(lab, node.name)
        exporter = stack.enter_context(_exporter(directory / "exporter.log"))
        gateway = _gateway(directory, lab, stack.enter_context(_issuer()))
        stack.callback(end_gateways, [gateway])
        until(gateway.ready)
        stack.enter_context(_in_use(str(gateway.url), lab.credentials.admin_token))
        yield Site(lab, exporter, str(gateway.address))


@contextmanager
def cluster(directory: Path) -> Iterator[Callable[[str], str]]:
    """What Prometheus would be told of each node of a Redis Cluster."""
    lab = Lab.create(directory / "lab", "cluster", ports="free")
    with ExitStack() as stack:
        stack.callback(lab.stop)
        lab.start()
        for node in lab.status().nodes:
            _let_monitor(lab, node.name)
        exporter = stack.enter_context(_exporter(directory / "exporter.log"))
        url = f"http://{exporter}/scrape?target=redis://127.0.0.1"
        yield lambda name: _text(f"{url}:{lab.node(name).port}")


def _let_monitor(lab: Lab, name: str) -> None:
    """Make the exporter's user on a node, with the rights that deploy/redis gives it."""
    node = lab.node(name)
    users = "sentinel_users" if node.kind == "sentinel" else "redis_users"
    digest = hashlib.sha256(MONITOR_PASSWORD.encode()).hexdigest()
    script = (
        '. "$0/users.sh"; PEERS=a; . "$0/node.sh"; . "$0/sentinels.sh"; '
        f'password= internal= operator= sentinel_password= monitor="#{digest}"; {users}'
    )
    said = subprocess.run(
        ["sh", "-c", script, DEPLOYED.parent / "redis"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (rights,) = (line.split() for line in said.splitlines() if line.startswith("user monitor "))
    with redis.Redis(port=node.port, password=lab.password(node)) as client:
        client.execute_command("ACL", "SETUSER", *rights[1:])


@contextmanager
def _exporter(log: Path) -> Iterator[str]:
    where = f"127.0.0.1:{free_port()}"
    (pods,) = objects("../k8s/redis/base/statefulset.yaml")
    spec = pods["spec"]["template"]["spec"]["containers"][-1]
    listen = f"-web.listen-address=:{spec['ports'][0]['containerPort']}"
    arguments = [f"-web.listen-address={where}" if a == listen else a for a in spec["args"]]
    command = str(program("prometheus-redis-exporter"))
    environ = {each["name"]: each.get("value", MONITOR_PASSWORD) for each in spec["env"]}
    with running(log, command, *arguments, env=environ):
        until(lambda: _answers(f"http://{where}/health"))
        yield where


@contextmanager
def _issuer() -> Iterator[str]:
    """Where keys of tokens are published."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(KEYS.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        server.server_close()


def _gateway(directory: Path, lab: Lab, keys_url: str) -> GatewayProcess:
    policies = directory / "policies.toml"
    policies.write_text(POLICIES)
    around = {name: text for name, text in os.environ.items() if not name.startswith("ARAGORA_")}
    ours = lab.env()
    del ours["ARAGORA_JWT_SECRET"]  # its keys are published instead
    settings = {
        "ARAGORA_POLICIES": str(policies),
        "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
        "ARAGORA_JWT_JWKS_URL": keys_url,
        "ARAGORA_TOKENS_OUTBOX": str(directory / "outbox"),
    }
    return GatewayProcess.launch(
        lab.directory,
        Address("127.0.0.1", free_port()),
        around | ours | settings,
        has_lab=False,
    )


@contextmanager
def _in_use(url: str, token: str) -> Iterator[None]:
    """Two who use all of the gateway: what waits for Redis holds up no checks."""
    over = threading.Event()

    def use(work: Callable[[httpx.Client], None], every: float) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=5) as client:
            while not over.wait(every):
                with suppress(httpx.HTTPError):
                    work(client)

    users = [
        threading.Thread(target=use, args=(_check, 0.02)),
        threading.Thread(target=use, args=(_change, 0.2)),
    ]
    for user in users:
        user.start()
    try:
        yield
    finally:
        over.set()
        for user in users:
            user.join()


def _check(client: httpx.Client) -> None:
    for policy in ("api", "strict"):
        client.post(f"/v1/limits/{policy}/check", json={"subject": "somebody"})


def _change(client: httpx.Client) -> None:
    now = time.time()
    client.post("/v1/tokens/revoke", json={"jti": f"token-{now}", "expires_at": now + 600})
    made = client.post("/v1/sessions", json={"user": "42", "data": {}})
    if made.is_success:
        client.get(f"/v1/sessions/{made.json()['id']}")
    client.post("/v1/circuits/upstream/force", json={"state": "open"})
    client.post("/v1/circuits/upstream/acquire")


def _text(url: str) -> str:
    return httpx.get(url, timeout=10).raise_for_status().text


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.HTTPError:
        return False
