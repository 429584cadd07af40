"""Set-up ends in one clear line when the machine lacks what it needs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("cat", "cksum", "dirname", "head", "id", "mkdir", "mv", "rm", "sed", "sh", "tail", "uname")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what set-up reads, at a path with a space."""
    tree = tmp_path / "a tree"
    tree.mkdir()
    shutil.copytree(ROOT / "scripts", tree / "scripts")
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tree)
    return tree


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The only directory on PATH: POSIX tools, and what a test adds."""
    machine = tmp_path / "machine"
    machine.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (machine / tool).symlink_to(found)
    return machine


def program(machine: Path, name: str, body: str) -> Path:
    path = machine / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def run(tree: Path, machine: Path, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tree / "scripts" / script],
        env={"PATH": str(machine), **env},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    return line


def test_says_that_there_is_no_python(tree: Path, machine: Path) -> None:
    program(machine, "python3", "exit 1")
    assert "Python 3.11 or later is needed" in one_line(run(tree, machine, "setup"))


def test_the_python_that_was_asked_for_is_not_replaced(tree: Path, machine: Path) -> None:
    (machine / "python3").symlink_to(sys.executable)
    line = one_line(run(tree, machine, "setup", PYTHON="/nowhere/python3"))
    assert "PYTHON=/nowhere/python3 does not run" in line


def test_names_the_package_that_python_lacks(tree: Path, machine: Path) -> None:
    program(
        machine,
        "python3",
        'case "$*" in *ensurepip*) exit 1 ;; *python%d.%d-venv*) echo python3.11-venv ;; esac',
    )
    assert "install the package python3.11-venv" in one_line(run(tree, machine, "setup"))


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("Redis server v=6.2.14 sha=40305114:0 malloc=libc", "redis 6.2.14"),
        ("Redis server v=10.0.1 sha=00000000:0", "redis 10.0.1"),
        ("Valkey server v=8.0.1 sha=00000000:0", "valkey 8.0.1"),
        ("Redis server v=6.0.16 sha=00000000:0", ""),
        ("Redis server v=5.9.0 sha=00000000:0", ""),
        ("Valkey server v=7.2.5 sha=00000000:0", ""),
        ("Usage: redis-check-rdb <rdb-file-name>", ""),
    ],
)
def test_takes_the_servers_that_the_project_works_with(
    tree: Path, machine: Path, banner: str, version: str
) -> None:
    server = program(machine, "redis-server", f"echo '{banner}'")
    script = tree / "scripts" / "probe"
    script.write_text(
        f'#!/bin/sh\nroot={tree.name}\n. "{tree}/scripts/lib.sh"\nserver_version "$1"\n'
    )
    result = subprocess.run(
        ["sh", script, server],
        env={"PATH": str(machine)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == version


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("redis-server", "", id="by-its-name"),
        pytest.param(
            "redis-check-rdb", " (the server itself: Debian gives it this name)", id="of-debian"
        ),
    ],
)
def test_says_which_server_it_takes(tree: Path, machine: Path, name: str, told: str) -> None:
    (machine / "ln").symlink_to(shutil.which("ln") or "ln")
    (tree / ".venv" / "bin").mkdir(parents=True)
    server = program(machine, name, "echo 'Redis server v=7.0.15 sha=00000000:0'")
    result = run(tree, machine, "redis-server")
    assert result.stdout == f"setup: using redis 7.0.15, {server}{told}\n", result.stderr


def test_down_has_nothing_to_end_in_a_tree_that_was_never_set_up(tree: Path, machine: Path) -> None:
    result = run(tree, machine, "down")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("script", ["programs", "chromium"])
def test_without_programs_to_judge_with_the_checks_go_on_and_say_what_is_skipped(
    tree: Path, machine: Path, script: str
) -> None:
    result = run(tree, machine, script)
    assert (result.returncode, result.stdout) == (0, "")
    (line,) = result.stderr.splitlines()
    assert "are skipped" in line


def test_programs_that_are_there_are_left_alone(tree: Path, machine: Path) -> None:
    for name in ("prometheus", "promtool", "prometheus-redis-exporter", "kubectl", "busybox"):
        program(machine, name, "exit 0")
    program(machine, "google-chrome", "exit 0")
    for script in ("programs", "chromium"):
        result = run(tree, machine, script)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
