"""`health` and `lab` against real servers, with settings as users get them wrong."""

from __future__ import annotations

import json
import re
import subprocess
import time

from aragora_redis.settings import Standalone, from_env


def test_health_judges_what_is_configured(cli, sentinel_lab):
    code, out, _ = cli("health", **sentinel_lab.env())
    first, figures = out.splitlines()
    assert (code, first) == (0, "OK: Redis HA healthy (master + 2 replicas)")
    assert re.fullmatch(r"\| time=[0-9.]+s;;;0 replicas_good=2;;;0;2 replicas=2;;;0 .*", figures)
    sentinel_lab.kill("replica-0")
    code, out, _ = cli("health", "--json", **sentinel_lab.env())
    assert (code, json.loads(out)["status"]) == (1, "WARNING")


def test_health_answers_a_probe(cli, sentinel_lab):
    for probe in ("live", "ready", "startup"):
        code, out, _ = cli("health", "--probe", probe, **sentinel_lab.env())
        assert (code, out.splitlines()[0]) == (0, f"OK: {probe}")
    for name in ("replica-0", "replica-1"):
        sentinel_lab.freeze(name)
    end = time.monotonic() + 15
    while cli("health", "--probe", "ready")[0] == 0:
        assert time.monotonic() < end
    code, out, _ = cli("health", "--probe", "ready")
    told = "CRITICAL: not ready: the primary refuses writes: too few good replicas"
    assert (code, out.splitlines()[0]) == (2, told)
    assert cli("health", "--probe", "live")[0] == 0
    assert cli("health", "--probe", "nonsense")[0] == 3, "no outage, to a monitor"


def test_health_writes_a_textfile_for_prometheus(cli, standalone_lab, tmp_path):
    file = tmp_path / "redis.prom"
    assert cli("health", "--prometheus", str(file), **standalone_lab.env())[0] == 0
    assert "\naragora_redis_health_status 0.0\n" in file.read_text("utf-8")
    code, out, _ = cli("health", "--prometheus", str(tmp_path / "none" / "redis.prom"))
    assert (code, out.startswith("UNKNOWN: ")) == (3, True)


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
    assert (code, out.splitlines()[0]) == (0, "OK: Redis healthy (standalone or managed)")


def test_lab_env_is_read_back_by_a_shell(cli, standalone_lab, monkeypatch):
    monkeypatch.setenv("ARAGORA_POLICIES", "my policies.toml")
    code, out, _ = cli("lab", "env", "--lab", str(standalone_lab.directory))
    assert code == 0
    lines = ["set -a", out, 'printf %s "$ARAGORA_POLICIES|$ARAGORA_REDIS_PASSWORD"']
    said = subprocess.check_output(["/bin/sh", "-c", "\n".join(lines)], text=True)
    policies, password = said.split("|")
    assert policies.endswith("/my policies.toml")
    assert policies.startswith("/")
    assert password == standalone_lab.credentials.redis_password


def test_lab_env_leads_away_from_another_lab(cli, standalone_lab):
    """Whatever the shell has of a lab under Sentinels would go before the URL of this one."""
    other = {
        "ARAGORA_REDIS_SENTINEL_HOSTS": "127.0.0.1:26379",
        "ARAGORA_REDIS_SENTINEL_MASTER": "m",
        "ARAGORA_REDIS_TLS_CA": "/ca.pem",
    }
    kept = {"ARAGORA_REDIS_DEADLINE": "80 ms", "ARAGORA_SESSIONS_REDIS_URL": "redis://10.0.0.1"}
    code, out, _ = cli("lab", "env", "--lab", str(standalone_lab.directory), **other, **kept)
    assert code == 0
    lines = ["set -a", out, "env"]
    env = dict.fromkeys(other, "x") | kept
    said = subprocess.check_output(["/bin/sh", "-c", "\n".join(lines)], text=True, env=env)
    found = dict(line.split("=", 1) for line in said.splitlines() if line.startswith("ARAGORA_"))
    assert {name: found[name] for name in other} == dict.fromkeys(other, "")
    assert kept.items() <= found.items()
    assert isinstance(from_env(found).topology, Standalone)


def test_a_lab_has_the_policies_that_up_serves_by(cli, standalone_lab, monkeypatch, tmp_path):
    (tmp_path / "own.toml").write_text('[limits.own]\nrate = "3 per hour"')
    monkeypatch.setenv("ARAGORA_POLICIES", str(tmp_path / "own.toml"))
    where = ("--lab", str(standalone_lab.directory))
    listed = json.loads(cli("limits", "list", "--json", *where)[1])
    assert [(each["name"], each["on_outage"]) for each in listed] == [("own", "fail-open")]
    reset = "limits", "reset", "own", "org:7", "--reason", "a test", *where
    assert cli(*reset)[:2] == (0, "nothing had been taken\n")
    monkeypatch.setenv("ARAGORA_RATE_LIMIT_FAIL_OPEN", "false")
    assert "fail-closed" in cli("limits", "list", *where)[1]


def test_a_lab_is_started_killed_thawed_and_stopped(cli, make_lab):
    lab = make_lab("standalone")
    where = ("--lab", str(lab.directory))
    code, out, _ = cli("lab", "start", *where, "--json")
    assert (code, json.loads(out)["running"]) == (0, True)
    code, _, err = cli("lab", "start", *where)
    assert (code, "already running" in err) == (1, True)
    assert cli("lab", "freeze", "primary", *where)[:2] == (0, "frozen: redis-0\n")
    code, out, _ = cli("lab", "status", *where)
    assert (code, "frozen" in out) == (0, True)
    assert cli("lab", "thaw", "--all", *where)[:2] == (0, "thawed: redis-0\n")
    assert cli("lab", "thaw", "--all", *where)[:2] == (0, "nothing to be thawed\n")
    code, _, err = cli("lab", "thaw", "primary", *where)
    assert (code, "redis-0 is running, and not frozen" in err) == (1, True)
    assert cli("lab", "kill", "redis-0", *where)[:2] == (0, "killed: redis-0\n")
    assert cli("lab", "start", "redis-0", "--wipe", *where)[:2] == (0, "started: redis-0\n")
    code, out, _ = cli("lab", "stop", *where, "--json")
    assert (code, json.loads(out)) == (0, {"stopped": ["redis-0"]})
    assert cli("lab", "stop", *where)[:2] == (0, "nothing to be stopped\n")
    code, _, err = cli("lab", "kill", "redis-7", *where)
    assert (code, err.startswith("error: there is no node 'redis-7'")) == (1, True)
