"""What the manifests are rendered from, and how they are written."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from aragora_redis.cli.app import command_line
from aragora_redis.errors import InvalidInputError
from aragora_redis.ops.manifests import Kind, Plan, carried, render, render_tree, write
from aragora_redis.ops.manifests.__main__ import main


def test_what_is_committed_is_what_the_defaults_render(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    assert main([]) == 0


def test_what_differs_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert "deploy/redis/start.sh is not what its template says" in capsys.readouterr().err
    assert main(["--write"]) == 0
    assert main([]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 2},
        {"nodes": 4},
        {"nodes": 11},
        {"namespace": "Upper"},
        {"namespace": "a\nb"},
        {"namespace": ""},
        {"master": "a b"},
        {"maxmemory": "256"},
        {"maxmemory": "1mb"},
        {"storage": "1gb"},
        {"storage": ""},
        {"storage": "511Mi"},
        {"image": 'x"; rm'},
        {"redis_image": ""},
        {"down_after_ms": 10},
        {"down_after_ms": 60_001},
        {"cluster": True},
        {"cluster": True, "nodes": 4},
        {"cluster": True, "nodes": 7},
        {"cluster": True, "nodes": 20},
    ],
    ids=str,
)
def test_what_no_deployment_can_have_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        Plan(**wrong)


@pytest.mark.parametrize(("nodes", "quorum"), [(3, 2), (5, 3), (7, 4)])
def test_the_quorum_is_a_majority(nodes, quorum):
    plan = Plan(nodes=nodes)
    assert plan.quorum == quorum
    assert f"QUORUM:-{quorum}" in render(Kind.CONFIG, plan)["sentinels.sh"]
    assert len(plan.hosts) == nodes


@pytest.mark.parametrize("maxmemory", ["256mb", "2gb"])
def test_both_roles_are_configured_alike(maxmemory):
    """A replica that is promoted keeps its file."""
    files = render(Kind.CONFIG, Plan(maxmemory=maxmemory))
    directives = [
        [line for line in files[name].splitlines() if not line.startswith("#")]
        for name in ("redis-master.conf", "redis-replica.conf")
    ]
    assert directives[0] == directives[1]
    assert f"maxmemory {maxmemory}" in directives[0]


@pytest.mark.parametrize(
    ("maxmemory", "backlog"), [("64mb", 16), ("100mb", 25), ("256mb", 64), ("8gb", 64)]
)
def test_the_backlog_leaves_the_data_its_memory(maxmemory, backlog):
    """It counts towards maxmemory: what has no room beside it is refused for good."""
    files = render(Kind.CONFIG, Plan(maxmemory=maxmemory))
    for name in ("redis-master.conf", "redis-replica.conf", "redis-cluster.conf"):
        assert f"\nrepl-backlog-size {backlog}mb\n" in files[name]


@pytest.mark.parametrize(
    ("maxmemory", "volume"), [("64mb", "1Gi"), ("256mb", "1Gi"), ("300mb", "2Gi"), ("8gb", "32Gi")]
)
def test_a_volume_has_room_for_what_memory_holds(maxmemory, volume):
    files = render(Kind.KUBERNETES, Plan(maxmemory=maxmemory))
    for name in (
        "base/statefulset.yaml",
        "overlays/cluster/statefulset.yaml",
        "migration/redis-replica.yaml",
    ):
        assert f" storage: {volume}\n" in files[name]


def test_a_volume_that_a_rewrite_would_fill_is_refused():
    with pytest.raises(InvalidInputError, match=r"15Gi is too little for 8gb.* at least 16384Mi"):
        Plan(maxmemory="8gb", storage="15Gi")
    files = render(Kind.KUBERNETES, Plan(maxmemory="8gb", storage="16Gi"))
    assert " storage: 16Gi\n" in files["base/statefulset.yaml"]


def test_the_settings_go_along_but_no_secret_and_nothing_of_this_machine():
    found = carried(
        {
            "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
            "ARAGORA_LOG_FORMAT": "json",
            "ARAGORA_KEY_PREFIX": "",
            "ARAGORA_DIGEST_KEY": "a-secret-of-16-or-more",
            "ARAGORA_JWT_SECRET": "another-of-16-or-more",
            "ARAGORA_REDIS_PASSWORD": "x",
            "ARAGORA_REDIS_URL": "redis://:x@h",
            "ARAGORA_POLICIES": "/home/me/policies.toml",
            "ARAGORA_TOKENS_OUTBOX": "/home/me/outbox",
            "ARAGORA_PORT": "9",
            "HOME": "/root",
        }
    )
    assert found == {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true", "ARAGORA_LOG_FORMAT": "json"}
    rendered = render(Kind.KUBERNETES, Plan(environment=found))["settings/aragora-redis.yaml"]
    assert '  ARAGORA_RATE_LIMIT_FAIL_OPEN: "true"\n' in rendered


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_says_all_that_it_refers_to(kind):
    tree = render_tree(kind, Plan())
    for each in (kind, *kind.needs):
        assert any(name.startswith(f"{each.place}/") for name in tree)
    assert not [name for name, text in tree.items() if "<%" in text or "%>" in text]


@pytest.mark.parametrize(
    ("plan", "told"),
    [(Plan(), "\n6 nodes, 3 primaries "), (Plan.of_cluster(nodes=8), "\n8 nodes, 4 ")],
)
def test_a_cluster_by_compose_is_explained_as_it_is(plan, told):
    assert told in render(Kind.COMPOSE, plan)["CLUSTER.md"]


def test_somebody_elses_file_is_not_written_over(tmp_path):
    mine = tmp_path / "a" / "mine"
    write({"a/mine": "x", "b": "y"}, tmp_path)
    mine.write_text("changed by hand")
    with pytest.raises(InvalidInputError, match="there already and not the same"):
        write({"a/mine": "x", "b": "z"}, tmp_path)
    assert (mine.read_text(), (tmp_path / "b").read_text()) == ("changed by hand", "y")
    assert write({"a/mine": "x", "b": "y"}, tmp_path, force=True) == (mine,)
    assert write({"a/mine": "x"}, tmp_path) == ()


def test_programs_can_be_run(tmp_path):
    write(render_tree(Kind.CONFIG, Plan()), tmp_path)
    assert os.access(tmp_path / "redis" / "start.sh", os.X_OK)
    assert not os.access(tmp_path / "redis" / "sentinel.conf", os.X_OK)


def test_a_file_that_is_no_text_counts_as_different(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(InvalidInputError):
        write({"a": "x"}, tmp_path)


def test_the_command_prints_and_writes(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ARAGORA_")]:
        monkeypatch.delenv(name)

    def call(*arguments, **env):
        return CliRunner().invoke(command_line(), arguments, env=env)

    shown = call("manifests", "config")
    assert shown.exit_code == 0
    assert "# ==> start.sh\n#!/bin/sh\n" in shown.output
    files = json.loads(call("manifests", "config", "--json").output)
    assert files["start.sh"].startswith("#!/bin/sh\n")
    master = {
        "ARAGORA_REDIS_SENTINEL_MASTER": "mine",
        "ARAGORA_REDIS_SENTINEL_HOSTS": "localhost",
        "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
    }
    wrote = call("manifests", "kubernetes", "--out", "here", "--nodes", "5", **master)
    assert wrote.exit_code == 0
    assert "here/k8s/redis/base/statefulset.yaml" in wrote.output
    settings = (tmp_path / "here/k8s/redis/settings/aragora-redis.yaml").read_text()
    assert "ARAGORA_REDIS_SENTINEL_MASTER: mine" in settings
    assert 'ARAGORA_RATE_LIMIT_FAIL_OPEN: "true"' in settings
    again = call("manifests", "kubernetes", "--out", "here", "--nodes", "5", "--json", **master)
    assert json.loads(again.output) == {"written": []}


CLUSTER = {"ARAGORA_REDIS_MODE": "cluster", "ARAGORA_REDIS_CLUSTER_NODES": "somewhere"}


def test_settings_of_a_cluster_are_rendered_as_one_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ARAGORA_")]:
        monkeypatch.delenv(name)

    def call(*arguments):
        return CliRunner().invoke(command_line(), ("manifests", *arguments), env=CLUSTER)

    for kind in ("kubernetes", "compose"):
        assert call(kind, "--out", "here").exit_code == 0
    written = [path for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"cluster-start.sh", "cluster.yaml", "rules.yaml"}
    texts = {path: path.read_text("utf-8") for path in written}
    asking = [path.name for path, text in texts.items() if "SENTINEL" in text]
    assert not asking
    # What is referred to is there, without the files of the other form.
    assert "overlays/cluster\n" in texts[tmp_path / "here/k8s/redis/kustomization.yaml"]
    assert not (tmp_path / "here/k8s/redis/base").exists()
    for arguments, why in (
        (("systemd",), "no systemd units for a Redis Cluster"),
        (("kubernetes", "--nodes", "5"), "5 nodes cannot be a Redis Cluster"),
    ):
        refused = call(*arguments)
        assert refused.exit_code != 0
        assert why in str(refused.exception)
