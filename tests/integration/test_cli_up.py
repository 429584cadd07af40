"""`up` and `down` as a user runs them: a process, its terminal, and what is left after it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.ports import free_port

from aragora_redis.lab import Lab, State
from aragora_redis.lab.ports import free_ports
from aragora_redis.lab.waiting import wait_until
from aragora_redis.ops import pid_file
from aragora_redis.ops.down import end_leftovers
from aragora_redis.ops.gateway_process import pid_paths
from aragora_redis.ops.up import Up, UpMode, Wish

COMMAND = (sys.executable, "-m", "aragora_redis")
LAST_LINE = "Ctrl-C ends all of it."

Launch = Callable[..., "Terminal"]


def _hear_signals():
    """Undo what `nohup` or a shell's `&` has made all its children ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A running `up`, and all that it has said."""

    def __init__(self, directory: Path, cwd: Path, *options: str, **env: str) -> None:
        self.directory = directory
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*COMMAND, "up", "--lab", str(directory), *options],
            cwd=cwd,
            env=clean_environment() | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_hear_signals,  # noqa: PLW1509 - no thread of this process holds a lock
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def await_line(self, part: str, *, seconds: float = 40) -> None:
        missing = wait_until(
            lambda: (
                "" if part in self.said or self.process.poll() is not None else f"no {part!r} yet"
            ),
            seconds=seconds,
        )
        assert not missing, self.said
        assert part in self.said, self.said

    def end(self, number: signal.Signals, *, seconds: float = 15) -> int:
        self.process.send_signal(number)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 15) -> int:
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        end_leftovers(self.directory)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)


def clean_environment() -> dict[str, str]:
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("ARAGORA_") or name == "ARAGORA_REDIS_SERVER"
    }


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=clean_environment() | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def living(directory: Path) -> list[str]:
    """What runs of a lab: its servers, and whatever holds a file of its gateways."""
    lab = Lab.find(directory)
    servers = [] if lab is None else lab.status().nodes
    return [each.name for each in servers if each.state is not State.DEAD] + [
        path.name for path in pid_paths(directory) if pid_file.holder(path)
    ]


def await_end_of(directory: Path) -> None:
    assert not wait_until(lambda: " ".join(living(directory)), seconds=20)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[Terminal] = []

    def start(*options: str, name: str = ".lab", port: int | None = None, **env: str) -> Terminal:
        terminal = Terminal(
            tmp_path / name, tmp_path, "--port", str(port or free_port()), *options, **env
        )
        started.append(terminal)
        return terminal

    yield start
    for terminal in started:
        terminal.close()


def test_up_shows_lines_that_work_and_ends_without_a_trace(launch, tmp_path):
    up = launch(name="my lab", ARAGORA_REDIS_URL="redis://elsewhere.invalid:6379/0")
    up.await_line(LAST_LINE)
    assert "ARAGORA_REDIS_URL" in up.lines[0]
    directory = tmp_path / "my lab"
    admin = (directory / "admin-token").read_text().strip()
    assert up.said.count(admin) == 1, "a new token is shown once"

    shown = [line.strip() for line in up.lines]
    answers = [
        json.loads(subprocess.check_output(["/bin/sh", "-c", line], cwd=tmp_path, timeout=10))
        for line in shown
        if line.startswith("curl ")
    ]
    assert answers[0]["allowed"]
    assert answers[1]["level"] == "replicated"
    assert answers[2]["revoked"]

    again = run("up", "--lab", "my lab", "--port", str(free_port()), cwd=tmp_path)
    assert again.returncode == 1
    assert f"already running in {directory} (process {up.process.pid})" in again.stderr

    (kill,) = (line for line in shown if " lab kill primary" in line)
    (health,) = (line for line in shown if " health --lab " in line)
    (start,) = (line for line in shown if " lab start --all" in line)
    assert subprocess.call(["/bin/sh", "-c", health], cwd=tmp_path, stdout=subprocess.DEVNULL) == 0
    subprocess.run(["/bin/sh", "-c", kill], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    up.await_line("is the primary now, it was redis-0")
    subprocess.run(["/bin/sh", "-c", start], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    up.await_line("runs again")

    servers = {node.port for node in Lab.open(directory).status().nodes}
    assert up.end(signal.SIGTERM) == 0, up.said
    assert not living(directory)
    commands = subprocess.check_output(["ps", "-ww", "-eo", "args"], text=True)
    assert str(directory) not in commands
    assert not [port for port in servers if f"127.0.0.1:{port} " in commands]


def test_embedded_up_needs_no_server_and_ends_cleanly(launch, tmp_path):
    up = launch("--mode", "embedded", PATH="/nowhere", ARAGORA_REDIS_SERVER="/nowhere/redis")
    up.await_line(LAST_LINE)
    assert "without" not in up.said
    assert up.end(signal.SIGINT) == 0
    assert not living(tmp_path / ".lab")
    token = (tmp_path / ".lab" / "admin-token").read_text().strip()
    assert (tmp_path / ".lab" / ".gitignore").read_text() == "*\n"

    second = launch("--mode", "embedded", "--json")
    second.await_line('"event":"ready"')
    assert token not in second.said
    assert second.end(signal.SIGHUP) == 0


def test_a_policies_file_that_is_refused_is_told_and_so_is_its_end(launch, tmp_path):
    file, good = tmp_path / "policies.toml", '[limits.api]\nrate = "2/second"\n'
    file.write_text(good)
    up = launch("--mode", "embedded", ARAGORA_POLICIES=str(file))
    up.await_line(LAST_LINE)
    file.write_text(good + "brust = 3\n")
    up.await_line("line 3: unknown key 'brust'")
    file.write_text(good)
    up.await_line("the policies file can be used again")
    assert up.end(signal.SIGINT) == 0


def test_what_up_started_dies_with_it_by_sigkill(launch, tmp_path):
    (tmp_path / "p.toml").write_text('[limits.api]\nrate = "2/second"\n')
    options = ("--mode", "standalone", "--gateways", "2")
    up = launch(*options, port=free_pair(), ARAGORA_POLICIES="p.toml")
    directory = tmp_path / ".lab"
    assert not wait_until(
        lambda: "" if len(living(directory)) == 3 else f"only {living(directory)}", seconds=20
    )
    assert f"\nARAGORA_POLICIES={tmp_path}/p.toml\n" in run("lab", "env", cwd=tmp_path).stdout
    up.end(signal.SIGKILL)
    await_end_of(directory)
    assert "POLICIES" not in run("lab", "env", cwd=tmp_path).stdout


def test_lab_env_names_the_policies_that_up_follows_while_it_does(cli, tmp_path, monkeypatch):
    one, other = Path("one.toml"), Path("other.toml")
    for file in (one, other):
        (tmp_path / file).write_text('[limits.api]\nrate = "2/second"\n')
    directory = tmp_path / ".lab"

    def named(**env: str) -> str | None:
        monkeypatch.delenv("ARAGORA_POLICIES", raising=False)
        code, out, err = cli("lab", "env", "--json", "--lab", str(directory), **env)
        assert code == 0, err
        policies: str | None = json.loads(out).get("ARAGORA_POLICIES")
        return policies

    for followed in (one, None, other, one, None):
        wish = Wish(directory, UpMode.STANDALONE, ports=(free_port(),))
        up = Up.prepare(wish, {} if followed is None else {"ARAGORA_POLICIES": str(followed)})
        try:
            assert named() == (None if followed is None else str(tmp_path / followed))
            if followed is one:
                assert named(ARAGORA_POLICIES=str(other)) == str(tmp_path / one), "as its gateways"
        finally:
            up.close()
        assert named() is None
        assert named(ARAGORA_POLICIES=str(other)) == str(tmp_path / other)


def test_a_gateway_that_dies_ends_up_with_its_log(launch, tmp_path):
    port = free_port()
    up = launch("--mode", "embedded", port=port)
    directory = tmp_path / ".lab"
    up.await_line(LAST_LINE)
    pid = pid_file.holder(directory / f"gateway-{port}.pid")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert up.wait() == 1
    assert f"error: the gateway on port {port} ended by SIGKILL" in up.said
    assert f"gateway-{port}.log ends with:" in up.said
    assert not living(directory)


def test_down_ends_what_a_crashed_up_has_left(launch, tmp_path):
    port = free_port()
    up = launch("--mode", "embedded", port=port)
    up.await_line(LAST_LINE)
    directory = tmp_path / ".lab"
    path = directory / f"gateway-{port}.pid"
    pid = pid_file.holder(path)
    assert pid is not None
    # A gateway that stands still does not notice that `up` is gone.
    os.kill(pid, signal.SIGSTOP)
    up.end(signal.SIGKILL)
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        (directory / "gateway-1.pid").write_text(f"{bystander.pid}\n")
        down = run("down", "--json", cwd=tmp_path)
        assert (down.returncode, json.loads(down.stdout)) == (0, {"ended": [f"gateway-{port}"]})
        assert pid_file.holder(path) is None
        assert bystander.poll() is None, "an id alone proves nothing"
    finally:
        bystander.kill()
        bystander.wait()
    down = run("down", cwd=tmp_path)
    assert (down.returncode, down.stdout) == (0, "nothing runs\n")


def test_down_ends_a_living_up_and_servers_in_the_background(launch, tmp_path):
    up = launch("--mode", "embedded")
    up.await_line(LAST_LINE)
    assert run("down", cwd=tmp_path).stdout == "ended: up\n"
    assert up.wait() == 0

    started = run(
        *("lab", "start", "--mode", "standalone", "--ports", "free", "--lab", "other"), cwd=tmp_path
    )
    assert started.returncode == 0, started.stderr
    assert run("down", "--lab", "other", cwd=tmp_path).stdout == "ended: redis-0\n"


def test_a_second_interrupt_does_not_wait(launch):
    port = free_port()
    up = launch("--mode", "embedded", port=port)
    up.await_line(LAST_LINE)
    # The gateway gives a request that has begun five seconds.
    with closing(socket.create_connection(("127.0.0.1", port))) as client:
        client.sendall(b"POST /v1/tokens/check HTTP/1.1\r\nHost: localhost\r\n")
        token = (up.directory / "admin-token").read_bytes().strip()
        client.sendall(b"Authorization: Bearer " + token + b"\r\nContent-Length: 9\r\n\r\n")
        up.process.send_signal(signal.SIGINT)
        up.await_line("once more")
        assert up.end(signal.SIGINT, seconds=3) == 130
    assert not living(up.directory)


def test_a_busy_port_fails_before_anything_is_started(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        failed = run("up", "--port", str(port), cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: port {port} is taken by another program (")
    assert "--port (make: PORT=)" in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / ".lab").exists()


def free_pair() -> int:
    return free_ports(2, 0).data[0]
