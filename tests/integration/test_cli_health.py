"""`health` and `lab` against real servers, with settings as users get them wrong."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from aragora_redis.cli.app import run as run_command


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ARAGORA_") and name != "ARAGORA_REDIS_SERVER":
            monkeypatch.delenv(name)

    def call(*arguments, **env):
        for name, text in env.items():
            monkeypatch.setenv(name, text)
        with pytest.raises(SystemExit) as end:
            run_command(arguments)
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


def test_health_judges_what_is_configured(cli, sentinel_lab):
    code, out, _ = cli("health", **sentinel_lab.env())
    assert (code, out) == (0, "OK: Redis HA healthy (master + 2 replicas)\n")
    sentinel_lab.kill("replica-0")
    code, out, _ = cli("health", "--json", **sentinel_lab.env())
    assert (code, json.loads(out)["status"]) == (1, "WARNING")


def test_an_unknown_master_name_is_critical_and_named(cli, sentinel_lab):
    env = sentinel_lab.env() | {"ARAGORA_REDIS_SENTINEL_MASTER": "mymaster"}
    code, out, _ = cli("health", **env)
    assert code == 2
    assert out.splitlines()[0].startswith("CRITICAL: no Sentinel knows a master named 'mymaster'")


def test_a_wrong_password_is_critical_and_not_shown(cli, standalone_lab):
    env = standalone_lab.env() | {"ARAGORA_REDIS_PASSWORD": "not-the-password"}
    code, out, err = cli("health", **env)
    assert code == 2
    assert "ARAGORA_REDIS_PASSWORD" in out
    assert "not-the-password" not in out + err


def test_the_lab_is_checked_without_its_environment(cli, standalone_lab):
    code, out, _ = cli("health", "--lab", str(standalone_lab.directory))
    assert (code, out) == (0, "OK: Redis healthy (standalone)\n")


def test_lab_env_is_read_back_by_a_shell(cli, standalone_lab, monkeypatch):
    monkeypatch.setenv("ARAGORA_POLICIES", "my policies.toml")
    code, out, _ = cli("lab", "env", "--dir", str(standalone_lab.directory))
    assert code == 0
    lines = ["set -a", out, 'printf %s "$ARAGORA_POLICIES|$ARAGORA_REDIS_PASSWORD"']
    said = subprocess.check_output(["/bin/sh", "-c", "\n".join(lines)], text=True)
    policies, password = said.split("|")
    assert policies.endswith("/my policies.toml")
    assert policies.startswith("/")
    assert password == standalone_lab.credentials.redis_password


def test_a_lab_is_started_killed_thawed_and_stopped(cli, make_lab):
    lab = make_lab("standalone")
    where = ("--dir", str(lab.directory))
    code, out, _ = cli("lab", "start", *where, "--json")
    assert (code, json.loads(out)["running"]) == (0, True)
    code, _, err = cli("lab", "start", *where)
    assert (code, "already running" in err) == (1, True)
    assert cli("lab", "freeze", "primary", *where)[:2] == (0, "frozen: redis-0\n")
    code, out, _ = cli("lab", "status", *where)
    assert (code, "frozen" in out) == (0, True)
    assert cli("lab", "thaw", "--all", *where)[:2] == (0, "thawed: redis-0\n")
    assert cli("lab", "kill", "redis-0", *where)[:2] == (0, "killed: redis-0\n")
    assert cli("lab", "start", "redis-0", "--wipe", *where)[:2] == (0, "started: redis-0\n")
    code, out, _ = cli("lab", "stop", *where, "--json")
    assert (code, json.loads(out)) == (0, {"stopped": ["redis-0"]})
    assert cli("lab", "stop", *where)[:2] == (0, "nothing to be stopped\n")
    code, _, err = cli("lab", "kill", "redis-7", *where)
    assert (code, err.startswith("error: there is no node 'redis-7'")) == (1, True)
