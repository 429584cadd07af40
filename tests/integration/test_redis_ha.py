"""The commands of docs/REDIS_HA.md, run on processes that stand for pods, and its migration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.pods import DEPLOY, SECRETS, needs_addresses, until
from tests.integration.rights import needs_readable_copies

pytestmark = [needs_addresses, pytest.mark.timeout(240)]

PAGE = Path(__file__).parents[2] / "docs" / "REDIS_HA.md"
BLOCKS = re.findall(r"<!-- runs -->\n```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
FUNCTIONS, TESTING, DRILL, NOT_HAPPENING, CONNECTION = BLOCKS
KUBECTL = """\
#!{python}
import base64, json, os, sys
cluster = json.load(open({cluster!r}))
words = sys.argv[1:]
assert words[:2] == ["-n", "aragora"], words
if words[2:5] == ["get", "secret", "redis-auth"]:
    asked = words[6].removeprefix("jsonpath={{.data.").removesuffix("}}")
    print(base64.b64encode(cluster["secrets"][asked].encode()).decode(), end="")
    sys.exit()
assert words[2] == "exec", words
at = words.index("--")
(target,) = [word for word in words[3:at] if word in cluster["pods"]]
assert target.startswith("deployment/") or words[at - 2] == "-c", "which container?"
command = [word.replace("/mnt/config", cluster["programs"]) for word in words[at + 1 :]]
os.execvpe(command[0], command, cluster["pods"][target])
"""


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def cluster(request, site, tmp_path, quick_path):
    """Three pods and what looks like a cluster to those who have nothing but kubectl."""
    if request.param:
        site.use_tls()
    site.start_at_once()
    gateway = site.application_env() | {"PATH": quick_path}
    del gateway["ARAGORA_REDIS_PASSWORD"]
    gateway["ARAGORA_REDIS_PASSWORD_FILE"] = str(Path(site.env["SECRETS"]) / "password")
    pods = {pod.name: site.env | {"NODE": pod.name, "LOCAL": pod.host} for pod in site.pods}
    pods["deployment/aragora-gateway"] = gateway
    known = {"pods": pods, "secrets": SECRETS, "programs": str(DEPLOY)}
    (tmp_path / "cluster.json").write_text(json.dumps(known))
    tools = tmp_path / "kubectl-alone"
    tools.mkdir()
    (tools / "kubectl").write_text(
        KUBECTL.format(python=sys.executable, cluster=str(tmp_path / "cluster.json"))
    )
    (tools / "kubectl").chmod(0o755)
    site.tools = tools
    return site


def run(site, block, *, code=0):
    """What a block prints; the first line that fails ends it with its exit code."""
    done = subprocess.run(
        ["sh", "-ec", FUNCTIONS + block],
        env={"PATH": f"{site.tools}:/usr/bin:/bin", "HOME": str(site.root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    for refusal in ("NOAUTH", "NOPERM", "WRONGPASS", "ERR "):
        assert refusal not in said
    for secret in SECRETS.values():
        assert secret not in said
    return said


def test_failover_testing(cluster):
    first = cluster.primary()
    said = run(cluster, TESTING)
    assert said.startswith(f"{first.host}\n{cluster.redis_port}\n")
    assert "OK: " in said
    assert "nothing acknowledged was lost" in said
    assert until(cluster.primary) is not first


@pytest.mark.drill
def test_a_drill(cluster):
    run(cluster, DRILL)
    assert until(cluster.primary) is not cluster.pods[0]


def test_troubleshooting(cluster):
    doctor, *asking = NOT_HAPPENING.splitlines()
    assert run(cluster, doctor).startswith("OK: nothing is wrong")
    assert "OK 3 usable Sentinels" in run(cluster, "\n".join(asking))
    said = run(cluster, CONNECTION)
    assert len(re.findall(r"^Sentinel .* -> ROLE", said, re.MULTILINE)) == 3
    assert re.search(r"^primary .* -> ROLE", said, re.MULTILINE)


@needs_readable_copies
def test_a_copy_of_a_single_redis_becomes_the_data_of_three(running, standalone_lab, connect):
    single = standalone_lab.node("redis-0")
    connect(standalone_lab).set("orders-of-old", "17")
    copy = running.root / "single.rdb"
    taken = subprocess.run(
        ["redis-cli", "-p", str(single.port), "--rdb", copy],
        env=os.environ | {"REDISCLI_AUTH": standalone_lab.password(single) or ""},
        capture_output=True,
        check=False,
    )
    assert taken.returncode == 0, taken.stderr
    running.kill()
    for pod in running.pods:
        done = pod.run("restore", str(copy), DATA=str(pod.data / "redis"))
        assert done.returncode == 0, done.stderr
    running.start()
    until(running.primary)
    assert [pod.ask("MGET", "orders-of-old", "kept") for pod in running.pods] == [["17", None]] * 3


@needs_readable_copies
def test_a_single_redis_moves_to_three_nodes_and_back(running, make_lab, connect, cli, tmp_path):
    lab = make_lab("standalone")
    lab.start()
    single = connect(lab, "redis-0")
    single.set("orders", "17")
    operator = {
        "ARAGORA_REDIS_USERNAME": "operator",
        "ARAGORA_REDIS_PASSWORD": SECRETS["operator-password"],
        "ARAGORA_REDIS_SENTINEL_USERNAME": "operator",
        "ARAGORA_REDIS_SENTINEL_PASSWORD": SECRETS["operator-password"],
    }
    where = running.application_env() | operator
    settings = ("masteruser", "masterauth", "replica-priority")

    def migrate(*words):
        journal = str(tmp_path / "journal.json")
        done = cli(
            "migrate", *words, "--from-lab", str(lab.directory), "--journal", journal, **where
        )
        return done[0]

    def told():
        return [
            [pod.ask("CONFIG", "GET", name, user="operator") for name in settings]
            for pod in running.pods
        ]

    before = told()
    assert migrate("run", "--overwrite") == 0
    assert [pod.ask("GET", "orders") for pod in running.pods] == ["17"] * 3
    assert told() == before, "nodes log in to each other as before"
    primary = running.pods[0]
    primary.write("orders", "18", replicas=3)
    assert single.get("orders") == "18", "the source follows"
    assert migrate("rollback") == 0
    assert single.set("orders", "19")
    assert migrate("run") == 0
    primary.kill()
    heir = until(lambda: next((pod for pod in running.pods if pod.role() == "master"), None))
    assert heir.ask("GET", "orders") == "19"
