"""`drill`: the difference that this library makes, in one command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.integration.rights import needs_cuts

from aragora_redis.lab import State, server
from aragora_redis.lab.waiting import wait_until


@pytest.fixture
def drill(quick_path):
    """The exit code and the report of a drill on a lab, or on what its environment leads to."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("ARAGORA_") or name == server.VARIABLE
    }

    def run(lab, *arguments, named=True, within=120, at_step=lambda _line, _process: None):
        where = ("--lab", str(lab.directory)) if named else ()
        with subprocess.Popen(
            ["aragora-redis", "drill", *arguments, *where, "--json"],
            env=kept | ({} if named else lab.env()) | {"PATH": quick_path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            told = ""
            for line in process.stderr or ():
                told += line
                at_step(line, process)
            out, _ = process.communicate(timeout=within)
        assert "Traceback" not in told
        return process.returncode, json.loads(out) if out else told

    return run


def left_behind(lab, name="primary"):
    node = lab.node(name)
    with lab._site.access(node).client(node) as client:
        return client.keys("aragora:drill:*")


def reached(condition, seconds=10):
    assert not wait_until(lambda: "" if condition() else "not yet", seconds=seconds)


@pytest.mark.paired
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
    assert code == 2
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


def test_one_shard_of_a_cluster_and_what_the_others_had_of_it(cli, drill, cluster_lab, tmp_path):
    lab, html = cluster_lab, tmp_path / "drill.html"
    victim = str(lab.node("redis-2").address)
    where = ("--lab", str(lab.directory))
    for arguments, why in (
        (("kill-primary", "--shard", "16000"), f"--confirm {victim}"),
        (("lose-sentinel", *where), "a Redis Cluster has no Sentinels"),
        (("kill-primary", "--shard", "127.0.0.1:1", *where), "is neither a node nor a slot"),
        (("kill-primary", "--shard", "16384", *where), "there is no slot 16384"),
    ):
        code, _, err = cli("drill", *arguments, **lab.env())
        assert (code, why in err) == (2, True), err
    wrong = lab.env() | {"ARAGORA_REDIS_PASSWORD": "not-it"}
    code, out, err = cli("drill", "kill-primary", **wrong)
    assert (code, "refuses the password" in out, err) == (2, True, "")

    code, report = drill(lab, "kill-primary", "--shard", "redis-5", "--hold", "0", "--html", html)
    assert code == 0, report
    writers = report["verdict"]["writers"]
    others = {name: found for name, found in writers.items() if " " in name}
    assert others.keys() == {"aragora-redis 0-5460", "aragora-redis 5461-10922"}
    ours = writers["aragora-redis"]
    assert (ours["lost"], ours["acknowledged"] > 300) == (0, True)
    assert max(found["gap"] for found in others.values()) < ours["gap"]
    assert not any(report["errors"][name] for name in others)
    assert 0 < report["verdict"]["detection"] <= report["verdict"]["promotion"] < 10
    assert lab.status().nodes[5].role == "primary"
    assert "aragora-redis 5461-10922" in html.read_text("utf-8")
    left = [left_behind(lab, f"redis-{number}") for number in (0, 1, 5)]
    assert left == [[], [], []]


def test_a_managed_service_whose_name_moves(cli, drill, managed_lab):
    lab, where = managed_lab, ("--lab", str(managed_lab.directory))
    for arguments, why in (
        (("kill-primary",), "aws elasticache test-failover"),
        (("lose-sentinel", *where), "a managed service has no Sentinels"),
        (("kill-primary", "--shard", "redis-1", *where), "is neither a node nor a slot"),
    ):
        code, _, err = cli("drill", *arguments, **lab.env())
        assert (code, why in err) == (2, True), err
    code, report = drill(lab, "kill-primary", "--hold", "0")
    assert code == 0, report
    ours, peer = (report["verdict"]["writers"][name] for name in ("aragora-redis", "redis-py"))
    assert (ours["lost"], ours["acknowledged"] > 300, peer["acknowledged"] > 0) == (0, True, True)
    assert 0 < report["verdict"]["detection"] <= report["verdict"]["promotion"] < 5
    assert (lab.primary(), lab.service.lacking()) == ("redis-1", "")
    assert not left_behind(lab)


def test_a_drill_that_is_ended_mends_what_it_broke(drill, managed_lab):
    lab, seen = managed_lab, []

    def end(line, process):
        if "kill-primary: now" in line:
            reached(lambda: lab.node("redis-0").state is State.DEAD)
            process.send_signal(signal.SIGTERM)
        elif "mending" in line:
            seen.append(lab.node("redis-0").state)

    code, told = drill(lab, "kill-primary", "--hold", "60", at_step=end)
    assert (code, "there is no report" in told, seen) == (130, True, [State.DEAD]), told
    assert {node.state for node in lab.status().nodes} == {State.RUNNING}
    assert not left_behind(lab)

    lab.kill("provider-0")
    code, report = drill(lab, "kill-primary")
    assert (code, report["refused"]) == (2, ["provider-0 is dead"])


@pytest.mark.drill
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "scenario",
    ["freeze-primary", pytest.param("cut-primary", marks=needs_cuts), "switchover", "restart-all"],
)
def test_every_scenario_on_a_managed_service(drill, managed_lab, scenario):
    code, report = drill(managed_lab, scenario)
    sys.stdout.write(f"{report['headline']} {report['verdict']}\n")
    assert code == 0, report
    assert not left_behind(managed_lab)


@pytest.mark.drill
def test_a_cluster_that_is_only_reached_by_wire(drill, cluster_lab):
    """Its nodes talk on a port of their own, so that one whose clients are paused is not missed."""
    first = str(cluster_lab.node("redis-0").address)
    code, report = drill(cluster_lab, "freeze-primary", "--confirm", first, named=False)
    assert (code, "cannot be made over the wire" in report["headline"]) == (2, True)
    for scenario in ("switchover", "kill-primary"):
        shard = ("--shard", "6000", "--confirm", str(primary_of_the_second(cluster_lab)))
        code, report = drill(cluster_lab, scenario, *shard, "--hold", "0", named=False)
        assert report["verdict"]["writers"]["aragora-redis"]["lost"] == 0, report


def primary_of_the_second(lab):
    return next(node.address for node in lab.status().nodes if node.slots == "5461-10922")


@pytest.mark.drill
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "scenario",
    [
        "freeze-primary",
        pytest.param("cut-primary", marks=needs_cuts),
        "switchover",
        "restart-all",
    ],
)
def test_every_scenario_on_a_cluster(drill, cluster_lab, scenario):
    code, report = drill(cluster_lab, scenario)
    sys.stdout.write(f"{report['headline']} {report['verdict']}\n")
    assert code == 0, report


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
