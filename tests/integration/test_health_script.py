"""The guide's health script, corrected: right in every case where the original is not."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.integration.rights import needs_redis_7

from aragora_redis.lab.server import find_server

SCRIPT = Path(__file__).parents[2] / "deploy" / "scripts" / "redis_health.sh"
MASTER = "aragora-master"


def ran(lab, *arguments, sentinel=0, **env):
    """The script's line and exit code, asked of one Sentinel of a lab."""
    lent = {key: text for key, text in lab.env().items() if key.endswith("PASSWORD")}
    tools = f"{find_server().path.parent}{os.pathsep}{os.environ['PATH']}"
    address = lab.node(f"sentinel-{sentinel}").address
    done = subprocess.run(
        [SCRIPT, *(arguments or (str(address), MASTER))],
        env={**lent, "PATH": tools, "HEALTH_DEADLINE": "1", **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert not done.stderr
    line = done.stdout.removesuffix("\n")
    assert "\n" not in line
    for secret in lent.values():
        assert secret not in line
    return line, done.returncode


def becomes(lab, code, part, **how):
    """Wait until the script says so."""
    end = time.monotonic() + 30
    while (said := ran(lab, **how))[1] != code or part not in said[0]:
        assert time.monotonic() < end, said
    return said[0]


def test_all_is_well_and_then_replicas_die(sentinel_lab):
    assert ran(sentinel_lab) == ("OK: Redis HA healthy (master + 2 replicas)", 0)
    sentinel_lab.kill("replica-0")
    becomes(sentinel_lab, 1, "WARNING: 1 of 2 replicas available")
    sentinel_lab.kill("replica-1")
    becomes(sentinel_lab, 2, "CRITICAL: Master refuses writes: no good replica")


def test_no_replica_where_the_primary_goes_on_without(sentinel_lab, connect):
    connect(sentinel_lab, "primary").config_set("min-replicas-to-write", 0)
    for name in ("replica-0", "replica-1"):
        sentinel_lab.kill(name)
    becomes(sentinel_lab, 1, "WARNING: No replicas available")


def test_what_is_not_there(sentinel_lab):
    said, code = ran(sentinel_lab, str(sentinel_lab.node("sentinel-0").address), "other")
    assert (said, code) == (
        "CRITICAL: Sentinel knows no master named other: ERR No such master with that name",
        2,
    )
    sentinel_lab.kill("all")
    said, code = ran(sentinel_lab)
    assert (said.startswith("CRITICAL: Sentinel not responding"), code) == (True, 2)


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("ARAGORA_REDIS_SENTINEL_PASSWORD", "Sentinel not responding: "),
        ("ARAGORA_REDIS_PASSWORD", "Master refuses the login: "),
    ],
)
def test_a_wrong_password_and_none(sentinel_lab, variable, told):
    for password in ("wrong", ""):
        said, code = ran(sentinel_lab, **{variable: password})
        assert said.startswith(f"CRITICAL: {told}"), said
        assert code == 2


def test_a_password_file(sentinel_lab, tmp_path):
    file = tmp_path / "password"
    file.write_text(sentinel_lab.env()["ARAGORA_REDIS_PASSWORD"] + "\n")
    named = {"ARAGORA_REDIS_PASSWORD": "", "ARAGORA_REDIS_PASSWORD_FILE": str(file)}
    assert ran(sentinel_lab, **named)[1] == 0
    named["ARAGORA_REDIS_PASSWORD_FILE"] += ".none"
    sentinel = str(sentinel_lab.node("sentinel-0").address)
    assert (
        subprocess.run(
            [SCRIPT, sentinel], env={**os.environ, **named}, capture_output=True, check=False
        ).returncode
        == 3
    )


def test_a_primary_that_stands_still_or_is_gone(sentinel_lab):
    sentinel_lab.freeze("primary")
    said, code = ran(sentinel_lab)
    assert (said.startswith("CRITICAL: Master is down: "), code) == (True, 2)


def test_no_failover_without_a_quorum(sentinel_lab):
    for number in (1, 2):
        sentinel_lab.kill(f"sentinel-{number}")
    becomes(sentinel_lab, 2, "CRITICAL: no automatic failover is possible: NOQUORUM")
    sentinel_lab.kill("primary")
    becomes(sentinel_lab, 2, "CRITICAL: Master is down (s_down,master")


def test_a_sentinel_in_tilt(sentinel_lab):
    sentinel_lab.trouble("tilt", "sentinel-0")
    becomes(sentinel_lab, 1, "WARNING: Sentinel is in TILT mode")


def test_a_sentinel_that_names_a_replica(sentinel_lab):
    sentinel_lab.trouble("false-master", "sentinel-0")
    becomes(sentinel_lab, 2, "which Sentinel names, is a replica")


def test_a_replica_that_has_lost_its_link(sentinel_lab, connect):
    connect(sentinel_lab, "replica-0").replicaof("127.0.0.1", 1)
    becomes(sentinel_lab, 1, "WARNING: 1 of 2 replicas available")


@needs_redis_7
def test_a_primary_that_loads(sentinel_lab):
    sentinel_lab.trouble("loading")
    becomes(sentinel_lab, 2, "CRITICAL: Master is loading its data")
