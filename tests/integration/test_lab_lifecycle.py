from __future__ import annotations

import json
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from aragora_redis.errors import LabError
from aragora_redis.lab import Lab, State, process
from aragora_redis.lab.waiting import wait_until

HOLD = """
import sys, time
from aragora_redis.lab import Lab
Lab.create(sys.argv[1], sys.argv[2], ports="free").start(foreground=True)
print("up", flush=True)
time.sleep(600)
"""


ENDS_BUT_FOR_A_THREAD = """
import ctypes, platform, sys, threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print("up", flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # this thread only
"""


def occupy_guide_port() -> socket.socket | None:
    """Somebody else's server on 6379 will do as well."""
    try:
        return socket.create_server(("127.0.0.1", 6379))
    except OSError:
        return None


def test_a_started_sentinel_lab_is_usable_at_once(sentinel_lab, connect):
    status = sentinel_lab.status()
    assert [(node.name, node.role) for node in status.nodes] == [
        ("redis-0", "primary"),
        ("redis-1", "replica"),
        ("redis-2", "replica"),
        ("sentinel-0", None),
        ("sentinel-1", None),
        ("sentinel-2", None),
    ]
    assert status.primary == "redis-0"
    assert connect(sentinel_lab).set("a", "1")
    assert connect(sentinel_lab).wait(2, 2000) == 2
    for name in ("sentinel-0", "sentinel-1", "sentinel-2"):
        sentinel = connect(sentinel_lab, name)
        said = sentinel.execute_command("SENTINEL", "CKQUORUM", "aragora-master")
        assert said.startswith("OK 3 usable")
        assert sentinel.sentinel_master("aragora-master")["num-slaves"] == 2


def test_secrets_are_private_and_in_no_argument(sentinel_lab):
    lab = sentinel_lab
    values = [value for name, value in lab.env().items() if name.endswith(("PASSWORD", "TOKEN"))]
    assert len({*values, lab.env()["ARAGORA_DIGEST_KEY"], lab.env()["ARAGORA_JWT_SECRET"]}) == 6
    assert stat.S_IMODE(lab.directory.stat().st_mode) == 0o700
    private = [lab.directory / "gateway-token", lab.directory / "digest-key"]
    # Both were rewritten by the server itself in the course of the start.
    private += [lab.node("redis-0").config_path, lab.node("sentinel-0").config_path]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    commands = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert str(lab.directory) in commands
    assert not [value for value in values if value in commands]
    assert not [value for value in values if value in repr(lab.credentials)]


def test_start_of_a_running_lab_says_what_to_do(make_lab):
    lab = make_lab("standalone")
    lab.start()
    with pytest.raises(LabError, match=r"already running.*lab stop"):
        Lab.create(lab.directory, "standalone").start()


def test_data_ports_and_secrets_outlive_a_stop(make_lab, connect):
    lab = make_lab("standalone")
    lab.start()
    connect(lab).set("kept", "yes")
    before = lab.env()
    assert lab.stop() == ("redis-0",)
    assert lab.stop() == ()
    again = Lab.create(lab.directory, "standalone", ports="free")
    again.start()
    assert again.env() == before
    assert connect(again).get("kept") == "yes"


def test_a_lab_moves_when_a_port_was_taken_meanwhile(sentinel_lab, connect):
    lab = sentinel_lab
    lab.kill("primary")
    assert not wait_until(lambda: "" if lab.primary() != "redis-0" else "old", seconds=20)
    lab.start_node("redis-0")
    primary = lab.primary()
    connect(lab).set("kept", "yes")
    connect(lab).wait(2, 2000)
    lab.stop()
    old = lab.node("redis-0").port
    with closing(socket.create_server(("127.0.0.1", old))):
        lab.start()
        assert lab.primary() == primary
        assert connect(lab).get("kept") == "yes"
        assert lab.node("redis-0").port != old
        assert {node.state for node in lab.status().nodes} == {State.RUNNING}


def test_the_guides_ports_are_left_to_whoever_has_them(make_lab, connect):
    taken = occupy_guide_port()
    try:
        lab = make_lab("standalone", ports="guide")
        lab.start()
        assert lab.node("redis-0").port != 6379
        assert connect(lab).ping()
        assert f":{lab.node('redis-0').port}/" in lab.env()["ARAGORA_REDIS_URL"]
    finally:
        if taken is not None:
            taken.close()


def test_a_directory_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    before = tmp_path.stat().st_mode
    with pytest.raises(LabError, match="not a lab"):
        Lab.create(tmp_path)
    assert tmp_path.stat().st_mode == before


def test_another_mode_in_the_same_directory_is_refused(make_lab):
    lab = make_lab("standalone")
    with pytest.raises(LabError, match="mode standalone"):
        Lab.create(lab.directory, "sentinel")


def test_unknown_choices_and_targets_name_the_known_ones(make_lab, tmp_path):
    with pytest.raises(LabError, match="standalone or sentinel"):
        Lab.create(tmp_path / "lab", "cloud")
    lab = make_lab()
    with pytest.raises(LabError, match="replica-1, redis-0"):
        lab.kill("redis-7")
    with pytest.raises(LabError, match="not running"):
        lab.kill("redis-0")
    with pytest.raises(LabError, match="never started"):
        lab.start_all()


def test_a_missing_or_broken_lab_is_told_apart(tmp_path):
    assert Lab.find(tmp_path) is None
    with pytest.raises(LabError, match="no lab"):
        Lab.open(tmp_path)
    (tmp_path / "lab.json").write_text("{")
    with pytest.raises(LabError, match="cannot be read"):
        Lab.open(tmp_path)


def test_a_server_that_does_not_start_shows_its_log(make_lab):
    lab = make_lab("standalone")
    lab.start()
    lab.stop()
    manifest = json.loads((lab.directory / "lab.json").read_text())
    directory = lab.node("redis-0").directory
    for file in (*directory.glob("appendonlydir/*.manifest"), *directory.glob("appendonly.aof")):
        file.write_text("nonsense\n")
    with pytest.raises(LabError, match=r"redis-0 ended at once(.|\n)*(AOF|append only file)"):
        Lab.open(lab.directory).start()
    assert not lab.status().running
    assert manifest["mode"] == "standalone"


def test_a_stale_pid_file_leads_to_nobody_elses_end(make_lab):
    lab = make_lab("standalone")
    lab.start()
    node = lab.node("redis-0")
    lab.kill("redis-0")
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        node.pid_path.write_text(f"{bystander.pid}\n")
        assert node.state is State.DEAD
        assert lab.stop() == ()
        assert bystander.poll() is None
        assert not node.pid_path.exists()
    finally:
        bystander.kill()
        bystander.wait()


def awaited(condition):
    return not wait_until(lambda: "" if condition() else "not yet", seconds=10)


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="needs its SYS_exit")
def test_a_process_is_not_dead_while_a_thread_of_it_may_hold_its_port(tmp_path):
    command = [sys.executable, "-c", ENDS_BUT_FOR_A_THREAD]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as ending:
        try:
            config, stat = tmp_path / "redis.conf", Path(f"/proc/{ending.pid}/stat")
            assert ending.stdout is not None
            assert ending.stdout.readline() == b"up\n"
            assert awaited(lambda: ") Z " in stat.read_text("ascii"))
            assert process.state_of(ending.pid, config) is State.RUNNING
        finally:
            ending.kill()
        assert awaited(lambda: process.state_of(ending.pid, config) is State.DEAD)


def test_processes_are_told_apart_without_proc_too(make_lab, monkeypatch):
    monkeypatch.setattr(process, "_PROC", Path("/nowhere"))
    lab = make_lab("standalone")
    lab.start()
    lab.freeze("redis-0")
    lab.thaw("redis-0")
    pid = lab.node("redis-0").pid
    assert pid is not None
    assert process.state_of(pid, Path("/another/redis.conf")) is State.DEAD
    lab.kill("redis-0")
    assert lab.node("redis-0").state is State.DEAD


def test_servers_survive_the_terminals_interrupt(make_lab):
    lab = make_lab("standalone")
    lab.start()
    pid = lab.node("redis-0").pid
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)


@pytest.mark.parametrize("mode", ["standalone", "sentinel"])
def test_a_foreground_lab_ends_with_its_parent_even_by_sigkill(make_lab, mode):
    lab = make_lab(mode)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lab.directory), mode], stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "up\n"
            lab = Lab.open(lab.directory)
            assert all(node.state is State.RUNNING for node in lab.status().nodes)
            lab.freeze("redis-0")
        finally:
            parent.send_signal(signal.SIGKILL)
    left = wait_until(
        lambda: "alive" if Lab.open(lab.directory).status().running else "", seconds=20
    )
    assert not left
    lab.start()
    assert lab.status().running


def test_the_guard_of_an_older_run_leaves_a_newer_one_alone(make_lab):
    first = make_lab("standalone")
    first.start(foreground=True)
    Lab.open(first.directory).stop()
    second = Lab.open(first.directory)
    second.start()
    assert first._guard is not None
    first._guard.close()
    first._guard = None
    assert second.status().running
