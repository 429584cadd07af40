"""What the tests of forward-auth lead requests through: proxies, the gateway and a service.

The proxies run with the files of deploy/proxies, of which only addresses and paths are others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import httpx
import jwt
from tests.integration.hostile import Gateway
from tests.ports import free_port

FILES = Path(__file__).parents[2] / "deploy" / "proxies"
KEY = "0123456789abcdef" * 4
PUBLIC = 8
"""What a client's address may, so that the share of one instance among a few is not nothing."""
POLICIES = f"""
[limits.api]
rate = "3 per hour"
on_outage = "fail-closed"
[limits.public]
rate = "{PUBLIC} per hour"
on_outage = "fail-open"
"""
NGINX = """
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    {temporary}
    include nginx.conf;
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
OURS = "127.0.0.1"


class Ports(NamedTuple):
    """Where those listen that a proxy connects to, and the way to the gateway in HAProxy."""

    gateway: int
    service: int
    way: int


def found(name: str) -> str | None:
    """The program that scripts/proxies has put here, or that the machine has."""
    ours = Path(sys.executable).parent
    path = os.pathsep.join((str(ours), os.environ["PATH"], "/usr/sbin"))
    return shutil.which(name, path=path)


def _nginx(directory: Path) -> tuple[list[str], ...]:
    names = " ".join(f"{name}_temp_path {name};" for name in TEMPORARY)
    user = "user root root;\n" if os.geteuid() == 0 else ""
    (directory / "main.conf").write_text(user + NGINX.format(temporary=names))
    run = ["nginx", "-p", str(directory), "-c", "main.conf"]
    return [*run, "-t"], run


def _haproxy(directory: Path) -> tuple[list[str], ...]:
    run = ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")]
    return [*run, "-c"], run


def _envoy(directory: Path) -> tuple[list[str], ...]:
    # Without what several on one machine would share.
    own = ("--disable-hot-restart", "--concurrency", "1", "-l", "error")
    return (["envoy", "-c", str(directory / "envoy.yaml"), *own],)


class Kind(NamedTuple):
    """A proxy: its files, and the commands that check them, if there is one, and run it."""

    files: tuple[str, ...]
    commands: Callable[[Path], tuple[list[str], ...]]


KINDS = {
    "nginx": Kind(("nginx.conf",), _nginx),
    "haproxy": Kind(("haproxy.cfg", "aragora.lua"), _haproxy),
    "envoy": Kind(("envoy.yaml",), _envoy),
}


class Proxy:
    """One that runs."""

    def __init__(self, name: str, directory: Path, ports: Ports) -> None:
        self.name = name
        self.port = free_port()
        self.log = directory / "log"
        replaced = {
            "listen 8000": f"listen {OURS}:{self.port}",
            "bind :8000": f"bind {OURS}:{self.port}",
            "address: 0.0.0.0, port_value: 8000": f"address: {OURS}, port_value: {self.port}",
            "127.0.0.1:8080": f"{OURS}:{ports.gateway}",
            "port_value: 8080": f"port_value: {ports.gateway}",
            "127.0.0.1:9000": f"{OURS}:{ports.service}",
            "port_value: 9000": f"port_value: {ports.service}",
            "127.0.0.1:8081": f"{OURS}:{ports.way}",
            "/etc/haproxy": str(directory),
        }
        for file in KINDS[name].files:
            text = (FILES / file).read_text()
            for ours, tests in replaced.items():
                text = text.replace(ours, tests)
            (directory / file).write_text(text)
        *checks, run = KINDS[name].commands(directory)
        for command in checks:
            done = subprocess.run(
                _program(command), capture_output=True, text=True, timeout=20, check=False
            )
            assert done.returncode == 0, done.stderr + done.stdout
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(_program(run), stdout=log, stderr=log)

    def client(self, address: str = OURS) -> httpx.Client:
        """A client of it that comes from an address of this machine."""
        transport = httpx.HTTPTransport(local_address=address)
        return httpx.Client(base_url=f"http://{OURS}:{self.port}", transport=transport, timeout=10)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _program(command: Sequence[str]) -> list[str]:
    name, *rest = command
    return [found(name) or name, *rest]


class _Echo(BaseHTTPRequestHandler):
    """Tells what has reached the service."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        size = self._size()
        fields = [[name.lower(), value] for name, value in self.headers.items()]
        body = json.dumps({"path": self.path, "fields": fields, "size": size}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - the names that are called

    def _size(self) -> int:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        size = 0
        while (piece := int(self.rfile.readline().partition(b";")[0], 16)) > 0:
            size += len(self.rfile.read(piece))
            self.rfile.readline()
        self.rfile.readline()
        return size

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Service(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A proxy has closed what it had kept: nothing to tell of."""


@contextmanager
def service() -> Iterator[int]:
    """What the proxies protect, and its port."""
    server = _Service((OURS, 0), _Echo)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Site:
    """A gateway on a Redis, a service, and proxies in front of it as they are asked for."""

    def __init__(self, directory: Path, lab: Any, service_port: int) -> None:
        self.lab = lab
        self.directory = directory
        self.ports = Ports(free_port(), service_port, free_port())
        self._proxies: dict[str, Proxy] = {}
        self._seen = 0
        self.start_gateway()

    def start_gateway(self, trusted: str = OURS) -> None:
        """Start the gateway, on the same port each time."""
        policies = self.directory / "policies.toml"
        policies.write_text(POLICIES)
        env = self.lab.env() | {
            "ARAGORA_POLICIES": str(policies),
            "ARAGORA_JWT_SECRET": KEY,
            "ARAGORA_TRUSTED_PROXIES": trusted,
            "ARAGORA_RATE_LIMIT_X_HEADERS": "true",
            "ARAGORA_REDIS_DEADLINE": "1",  # what a busy machine holds up is not the point
        }
        self.gateway = Gateway(self.ports.gateway, self.directory / "gateway.log", **env)
        with httpx.Client(base_url=f"http://{OURS}:{self.ports.gateway}") as client:
            until(lambda: client.get("/readyz").status_code == 200)

    def proxy(self, name: str) -> Proxy:
        """The proxy of that name, which leads to the service by now."""
        if name not in self._proxies:
            directory = self.directory / name
            directory.mkdir()
            self._proxies[name] = proxy = Proxy(name, directory, self.ports)
            until(lambda: self.leads(proxy), proxy.log.read_text)
        return self._proxies[name]

    def leads(self, proxy: Proxy) -> bool:
        """Whether requests are judged and led on."""
        try:
            with proxy.client(self.address()) as client:
                answer = client.get("/public/")
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and "RateLimit" in answer.headers

    def address(self) -> str:
        """A client's address that no limit has seen yet."""
        self._seen += 1
        return f"127.{100 + os.getpid() % 100}.{self._seen // 250}.{1 + self._seen % 250}"

    def user(self) -> str:
        """A user that no limit has seen yet."""
        self._seen += 1
        return f"user-{os.getpid()}-{self._seen}"

    def stop(self) -> None:
        """End all of it."""
        for proxy in self._proxies.values():
            proxy.stop()
        self.gateway.process.send_signal(signal.SIGCONT)
        self.gateway.stop()


def bearer(user: str, **claims: Any) -> dict[str, str]:
    """A request's field with a token of a user."""
    signed = {"sub": user, "exp": time.time() + 600, "jti": user} | claims
    return {"Authorization": f"Bearer {jwt.encode(signed, KEY)}"}


def until(
    condition: Callable[[], bool], said: Callable[[], str] = str, within: float = 20.0
) -> None:
    """Wait until something is so."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s: {said()}"
        time.sleep(0.02)


def connections(port: int) -> set[str]:
    """Who is connected to a port of this machine."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split()[1:4] for line in lines]
    return {
        theirs for ours, theirs, state in rows if state == "01" and ours.endswith(f":{port:04X}")
    }


def raw(port: int, *lines: str) -> str:
    """The status line that a request of these lines is answered with."""
    with socket.create_connection((OURS, port), timeout=10) as link:
        link.sendall(
            "\r\n".join((*lines, "Host: api.example.com", "Connection: close", "", "")).encode()
        )
        return link.makefile("rb").readline().decode()
