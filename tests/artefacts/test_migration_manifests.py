"""deploy/k8s/redis/migration: Kubernetes takes it, and its parts find each other and the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.artefacts.test_kubernetes import SECRETS, containers, named, pods, validate

from aragora_redis.ops.manifests import Kind, Plan, render
from aragora_redis.settings import Sentinel, from_env

ROOT = Path(__file__).parents[2]
BY_STEPS = ("redis-replica.yaml", "sentinel-deployment.yaml", "promote.yaml")
BY_COMMAND = ("migrate.yaml", "networkpolicy.yaml")


def objects(*names, plan=None):
    rendered = render(Kind.KUBERNETES, plan or Plan())
    return [each for name in names for each in yaml.safe_load_all(rendered[name])]


def by_steps(**wanted):
    return objects(*(f"migration/{name}" for name in BY_STEPS), plan=Plan(**wanted))


def by_command():
    return objects(*(f"migration/{name}" for name in BY_COMMAND))


def environment(container):
    """What a container is given, where that is no secret."""
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def as_template(pod):
    """A Pod as what makes one."""
    return {"kind": "Pod", "metadata": pod["metadata"], "spec": {"template": pod}}


def all_pods():
    made = [as_template(o) if o["kind"] == "Pod" else o for o in by_steps() + by_command()]
    return dict(pods(made))


def test_kubernetes_takes_every_object():
    for each in by_steps() + by_command():
        validate(each)


def test_each_container_is_locked_down_and_has_what_it_mounts():
    secrets = SECRETS | {"redis-single": {"password"}}
    for name, template in all_pods().items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        claimed = {"data"} if name in {"redis-replica", "sentinel"} else set()
        mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
        assert mounts == volumes.keys() | claimed
        used = {v["secret"]["secretName"] for v in volumes.values() if "secret" in v}
        assert used <= secrets.keys()
        for variable in container["env"]:
            source = variable.get("valueFrom", {}).get("secretKeyRef")
            if source:
                assert source["key"] in secrets[source["name"]]
            elif "PASSWORD" in variable["name"]:
                assert variable["value"].startswith("/run/"), variable


def test_the_programs_and_settings_that_pods_use_are_in_the_first_file():
    found = objects("migration/redis-replica.yaml")
    programs = named(found, "ConfigMap", "redis-replica-config")["data"]
    files = {path.name: path.read_text("utf-8") for path in (ROOT / "deploy" / "redis").iterdir()}
    assert programs.items() <= files.items()
    settings = named(found, "ConfigMap", "redis-single")["data"]
    for container in containers(by_steps()):
        for variable in container["env"]:
            source = variable.get("valueFrom", {}).get("configMapKeyRef")
            assert not source or (source["name"], source["key"]) in {
                ("redis-single", key) for key in settings
            }
        probes = [container.get(name) for name in ("livenessProbe", "readinessProbe")]
        run = [probe["exec"]["command"] for probe in probes if probe]
        for _, file, *_ in [*run, container["command"]] if run else ():
            assert file.removeprefix("/mnt/config/") in programs


@pytest.mark.parametrize("nodes", [3, 5])
def test_names_that_are_used_are_those_of_pods(nodes):
    found = by_steps(nodes=nodes, namespace="shop")
    hosts = {
        name: [f"{name}-{n}.{name}.shop.svc.cluster.local" for n in range(nodes)]
        for name in ("redis-replica", "sentinel")
    }
    for name, its_pods in hosts.items():
        stateful = named(found, "StatefulSet", name)["spec"]
        service = named(found, "Service", name)["spec"]
        assert stateful["serviceName"] == name
        assert service["selector"] == stateful["template"]["metadata"]["labels"]
        # Otherwise Sentinels wait for names, and names for readiness, which Sentinels make.
        assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
        (container,) = stateful["template"]["spec"]["containers"]
        env = environment(container)
        assert env["PEERS"].split() == its_pods
        assert env.get("SENTINELS", env["PEERS"]).split() == hosts["sentinel"]
    assert named(found, "StatefulSet", "sentinel")["spec"]["replicas"] == nodes
    (promote,) = containers([named(found, "Job", "redis-promote")])
    assert promote["args"][-1] == f"{hosts['redis-replica'][0]}:6379"


def test_no_service_of_a_single_redis_leads_to_its_replica():
    """`app: redis` is how many call it, and base does."""
    for _, template in pods(by_steps()):
        assert template["metadata"]["labels"]["app"] != "redis"


def settings_in(environ):
    return from_env(
        {n: v for n, v in environ.items() if n.startswith("ARAGORA_REDIS_") and "_FILE" not in n}
    )


def test_commands_are_sent_to_the_sentinels_of_their_way():
    (promote,) = containers([named(by_steps(), "Job", "redis-promote")])
    (migrate,) = all_pods()["aragora-migrate"]["spec"]["containers"]
    for container, hosts in (
        (promote, [f"sentinel-{n}.sentinel:26379" for n in range(3)]),
        (migrate, [f"redis-{n}.redis:26379" for n in range(3)]),
    ):
        topology = settings_in(environment(container)).topology
        assert isinstance(topology, Sentinel)
        assert topology.master == "aragora-master"
        assert [str(host) for host in topology.hosts] == hosts


def test_the_nodes_and_a_single_redis_elsewhere_may_reach_each_other():
    nodes = named(objects("base/statefulset.yaml"), "StatefulSet", "redis")["spec"]["template"]
    policy = named(by_command(), "NetworkPolicy", "redis-migration")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= nodes["metadata"]["labels"].items()
    (other,) = policy["egress"][0]["to"]
    assert other == policy["ingress"][0]["from"][0]
    assert other["namespaceSelector"] == {}
    assert all_pods()["aragora-migrate"]["metadata"]["labels"].items() >= (
        other["podSelector"]["matchLabels"].items()
    )


def test_the_page_names_the_sentinels_as_they_are():
    page = (ROOT / "docs" / "REDIS_HA.md").read_text("utf-8")
    listed = re.findall(r"SENTINEL_HOSTS=(sentinel-\S+)", page)
    assert set(listed) == {Plan().migration_sentinels}
