"""`drill`: the difference that this library makes, in one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import redis
from tests.integration.rights import needs_cuts


@pytest.fixture
def drill(quick_path):
    """The exit code and the report of a drill on a lab, or on what its environment leads to."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ARAGORA_")}

    def run(lab, *arguments, named=True, within=120):
        where = ("--lab", str(lab.directory)) if named else ()
        done = subprocess.run(
            ["aragora-redis", "drill", *arguments, *where, "--json"],
            env=kept | ({} if named else lab.env()) | {"PATH": quick_path},
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    return run


def left_behind(lab):
    node = lab.node("primary")
    with redis.Redis(port=node.port, password=lab.password(node)) as client:
        return client.keys("aragora:drill:*")


def test_a_killed_primary(drill, sentinel_lab, tmp_path):
    html = tmp_path / "drill.html"
    code, report = drill(sentinel_lab, "kill-primary", "--hold", "0", "--html", str(html))
    assert code == 0, report
    ours, peer = (report["verdict"]["writers"][name] for name in ("aragora-redis", "redis-py"))
    assert ours["acknowledged"] > 500
    assert ours["lost"] == 0
    assert peer["acknowledged"]
    assert 0 < report["verdict"]["detection"] <= report["verdict"]["promotion"] < 10
    assert "HELD: kill-primary" in html.read_text("utf-8")
    assert not left_behind(sentinel_lab)


def test_an_objective_that_cannot_be_met_is_missed(drill, sentinel_lab):
    code, report = drill(sentinel_lab, "lose-sentinel", "--hold", "0", "--max-gap", "0.001")
    assert (code, report["status"]) == (1, "WARNING")
    assert "s without a write" in report["headline"]


def test_a_deployment_is_drilled_only_by_its_name(drill, sentinel_lab):
    code, told = drill(sentinel_lab, "freeze-primary", named=False)
    assert code == 1
    assert "--confirm aragora-master" in told
    code, report = drill(sentinel_lab, "restart-all", "--confirm", "aragora-master", named=False)
    assert code == 2
    assert "cannot be made over the wire" in report["headline"]


@pytest.mark.drill
def test_a_deployment_that_is_only_reached_by_wire(drill, sentinel_lab):
    code, report = drill(
        sentinel_lab, "freeze-primary", "--confirm", "aragora-master", "--hold", "0", named=False
    )
    assert (code, report["verdict"]["writers"]["aragora-redis"]["lost"]) == (0, 0), report
    assert sentinel_lab.primary() != "redis-0"


def test_what_is_broken_already_is_not_drilled(drill, sentinel_lab):
    for name in ("sentinel-1", "sentinel-2"):
        sentinel_lab.kill(name)
    code, report = drill(sentinel_lab, "kill-primary")
    assert code == 2
    assert "no-majority" in report["headline"]
    assert sentinel_lab.status().nodes[0].role == "primary"


@pytest.mark.drill
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "scenario",
    [
        "freeze-primary",
        pytest.param("cut-primary", marks=needs_cuts),
        "switchover",
        "lose-sentinel",
        "restart-all",
    ],
)
def test_every_scenario_on_a_lab(drill, sentinel_lab, scenario):
    code, report = drill(sentinel_lab, scenario)
    sys.stdout.write(f"{report['headline']} {report['verdict']}\n")
    assert code == 0, report
    assert not left_behind(sentinel_lab)
