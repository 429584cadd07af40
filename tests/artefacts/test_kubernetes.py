"""deploy/k8s: kustomize builds it, Kubernetes takes it, and its parts find each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from tests.artefacts.programs import needs, program

from aragora_redis.ops.manifests import Kind, Plan, render_tree, write
from aragora_redis.settings import Cluster, Sentinel, from_env

DEPLOY = Path(__file__).parents[2] / "deploy"
REDIS = "k8s/redis"
OVERLAYS = ("aragora", "managed", "monitoring", "tls")
CLUSTERS = ("cluster", "cluster-monitoring", "cluster-tls")
BUILDS = (REDIS, *(f"{REDIS}/overlays/{name}" for name in (*OVERLAYS, *CLUSTERS)))
OPERATOR = json.loads(Path(__file__).with_name("operators.json").read_text("utf-8"))
OPERATORS = ("cert-manager.io/", "monitoring.coreos.com/")
SECRETS = {
    "redis-auth": {
        "password",
        "sentinel-password",
        "internal-password",
        "operator-password",
        "monitor-password",
    },
    "aragora-gateway": {"gateway-token", "admin-token", "digest-key", "jwt-secret"},
    "redis-managed": {"url"},
}
"""What deploy/k8s/redis/README.md has the reader make."""
MADE_BY_CERT_MANAGER = {"redis-tls"}

needs_kubectl = needs("kubectl")


def fit_for_old_kustomize(tree):
    """Say in the words of kubectl 1.20 what `resources` and `patches` say since.

    Debian has no later one, and no registry in reach has kustomize itself.
    """
    for path in tree.rglob("kustomization.yaml"):
        said = yaml.safe_load(path.read_text("utf-8"))
        listed = said.pop("resources", [])
        said["bases"] = [name for name in listed if (path.parent / name).is_dir()]
        said["resources"] = [name for name in listed if not (path.parent / name).is_dir()]
        said["patchesStrategicMerge"] = [patch["path"] for patch in said.pop("patches", [])]
        path.write_text(yaml.safe_dump(said), "utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("deploy")
    shutil.copytree(DEPLOY, tree, dirs_exist_ok=True)
    fit_for_old_kustomize(tree)
    return tree


@pytest.fixture(scope="module")
def build(tree):
    @cache
    def build(path):
        command = [str(program("kubectl")), "kustomize", str(tree / path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return build


def whole():
    return list(yaml.safe_load_all((DEPLOY / REDIS / "sentinel-statefulset.yaml").read_text()))


def named(objects, kind, name):
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def pods(objects):
    """Each pod template, with the name of what makes it."""
    for each in objects:
        spec = each.get("spec") or {}
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield each["metadata"]["name"], spec["template"]


def containers(objects):
    for _, template in pods(objects):
        yield from template["spec"].get("initContainers", ())
        yield from template["spec"]["containers"]


def validate(each):
    if each["apiVersion"].startswith(OPERATORS):
        jsonschema.validate(each, OPERATOR[each["kind"]])
        return
    kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@needs_kubectl
@pytest.mark.parametrize("path", BUILDS)
def test_kubernetes_takes_every_object(build, path):
    for each in build(path):
        validate(each)


def test_kubernetes_takes_the_single_file():
    for each in whole():
        validate(each)


def test_kubernetes_takes_the_way_back():
    jobs = list(yaml.safe_load_all((DEPLOY / REDIS / "backup" / "restore.yaml").read_text("utf-8")))
    claims = []
    for job in jobs:
        validate(job)
        claims += [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in job["spec"]["template"]["spec"]["volumes"]
            if volume["name"] == "data"
        ]
    assert claims == [f"data-redis-{number}" for number in range(3)]


def test_a_field_that_kubernetes_does_not_know_is_noticed():
    each = named(whole(), "StatefulSet", "redis")
    each["spec"]["template"]["spec"]["containers"][0]["comand"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(each)


def test_a_field_that_cert_manager_does_not_know_is_noticed():
    path = DEPLOY / REDIS / "overlays" / "tls" / "certificate.yaml"
    each = named(yaml.safe_load_all(path.read_text("utf-8")), "Certificate", "redis-tls")
    validate(each)
    each["spec"]["dnsName"] = []
    with pytest.raises(jsonschema.ValidationError):
        validate(each)


@needs_kubectl
def test_the_single_file_is_what_the_folders_build(build):
    both = [*build(f"{REDIS}/namespace"), *build(f"{REDIS}/base")]
    key = lambda each: (each["kind"], each["metadata"]["name"])  # noqa: E731
    assert sorted(both, key=key) == sorted(whole(), key=key)


@needs_kubectl
@pytest.mark.parametrize("path", BUILDS)
def test_who_selects_finds_pods_and_ports(build, path):
    objects = build(path)
    labelled = [(t["metadata"]["labels"], t["spec"]) for _, t in pods(objects)]
    for each in objects:
        spec = each.get("spec") or {}
        wanted = each["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy", "StatefulSet"}
        if not wanted and each["kind"] != "Deployment":
            continue
        selector = spec.get("selector") or spec.get("podSelector") or {}
        labels = dict(selector.get("matchLabels", selector))
        # The label keeper says which pod has the role.
        labels.pop("role", None)
        found = [pod for has, pod in labelled if labels.items() <= has.items()]
        assert found, (each["kind"], each["metadata"]["name"], labels)
        if each["kind"] == "Service":
            known = {
                port[part]
                for pod in found
                for container in pod["containers"]
                for port in container.get("ports", ())
                for part in ("name", "containerPort")
            }
            for port in spec["ports"]:
                assert port.get("targetPort", port["port"]) in known, each["metadata"]["name"]


@needs_kubectl
@pytest.mark.parametrize("path", BUILDS)
def test_no_secret_is_in_it_and_each_that_is_wanted_is_documented(build, path):
    objects = build(path)
    assert not [each for each in objects if each["kind"] == "Secret"]
    readme = (DEPLOY / REDIS / "README.md").read_text("utf-8")
    for container in containers(objects):
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {}).get("secretKeyRef")
            if source:
                assert source["key"] in SECRETS[source["name"]]
                assert source["key"] in readme
            elif "PASSWORD" in variable["name"] or "TOKEN" in variable["name"].split("_"):
                assert variable["value"].startswith("/run/"), variable
    for _, template in pods(objects):
        for volume in template["spec"].get("volumes", ()):
            if "secret" in volume:
                name = volume["secret"]["secretName"]
                assert name in SECRETS | dict.fromkeys(MADE_BY_CERT_MANAGER), name


@needs_kubectl
@pytest.mark.parametrize("path", BUILDS)
def test_each_container_is_locked_down(build, path):
    for name, template in pods(build(path)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is (name == "aragora-label-keeper")
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            # What Aragora itself writes is not ours to say.
            assert context.get("readOnlyRootFilesystem") or container["name"] == "aragora"


@needs_kubectl
@pytest.mark.parametrize("path", BUILDS)
def test_each_mount_has_its_volume(build, path):
    for name, template in pods(build(path)):
        claims = {"data"} if name == "redis" else set()
        volumes = {volume["name"] for volume in template["spec"].get("volumes", ())} | claims
        for container in template["spec"]["containers"]:
            for mount in container.get("volumeMounts", ()):
                assert mount["name"] in volumes, (name, mount)


def of_the_cluster(name):
    path = DEPLOY / REDIS / "overlays" / "cluster" / name
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def test_the_programs_are_those_that_are_tested():
    data = named(whole(), "ConfigMap", "redis-config")["data"]
    data |= named(whole(), "ConfigMap", "sentinel-config")["data"]
    (other,) = (each["data"] for each in of_the_cluster("redis-config.yaml"))
    files = {path.name: path.read_text("utf-8") for path in (DEPLOY / "redis").iterdir()}
    assert data.items() <= files.items()
    assert other.items() <= files.items()
    assert data | other == files
    assert {name for name in data if "cluster" in name} == set()
    assert {name for name, text in other.items() if "entinels" in text} <= {"node.sh", "users.sh"}


SOURCED = re.compile(r'(?:\$here|\$\(dirname -- "\$0"\))/([\w-]+\.\w+)')


@pytest.mark.parametrize("form", ["sentinel", "cluster"])
def test_a_program_finds_what_it_uses(form):
    objects = whole() if form == "sentinel" else of_the_cluster("redis-config.yaml")
    data = named(objects, "ConfigMap", "redis-config")["data"]
    for name, text in data.items():
        assert set(SOURCED.findall(text)) <= set(data), name


@needs_kubectl
@pytest.mark.parametrize("path", [REDIS, f"{REDIS}/overlays/cluster"])
def test_every_program_that_a_pod_runs_is_mounted(build, path):
    objects = build(path)
    mounted = {
        f"/mnt/config/{name}"
        for each in objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].endswith("-config")
        for name in each["data"]
    }
    stateful = named(objects, "StatefulSet", "redis")["spec"]["template"]["spec"]
    for container in stateful["containers"][:-1]:
        commands = [
            container["command"],
            *(container[probe]["exec"]["command"] for probe in ("livenessProbe", "readinessProbe")),
            *(hook["exec"]["command"] for hook in container.get("lifecycle", {}).values()),
        ]
        for _, file, *_ in commands:
            assert file in mounted


def test_the_guides_names_and_sizes_are_kept():
    objects = whole()
    stateful = named(objects, "StatefulSet", "redis")
    spec = stateful["spec"]
    assert stateful["metadata"]["namespace"] == "aragora"
    assert (spec["serviceName"], spec["replicas"]) == ("redis", 3)
    assert spec["template"]["metadata"]["labels"] == {"app": "redis"}
    server, *beside = spec["template"]["spec"]["containers"]
    assert [server["name"], *(c["name"] for c in beside)] == ["redis", "sentinel", "exporter"]
    assert server["image"] == "redis:7-alpine"
    assert server["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "1Gi"}
    assert named(objects, "Service", "redis")["spec"]["clusterIP"] == "None"
    assert named(objects, "Service", "redis-master")["spec"]["selector"] == {
        "app": "redis",
        "role": "master",
    }


def test_the_names_of_pods_resolve_before_they_are_ready():
    """Otherwise Sentinels wait for names, names for readiness, and readiness for Sentinels."""
    service = named(whole(), "Service", "redis")
    stateful = named(whole(), "StatefulSet", "redis")
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert stateful["spec"]["podManagementPolicy"] == "Parallel"


@pytest.mark.parametrize("form", ["", "cluster-"], ids=["sentinel", "cluster"])
def test_a_handover_ends_within_the_grace_period(form):
    objects = of_the_cluster("statefulset.yaml") if form else whole()
    template = named(objects, "StatefulSet", "redis")["spec"]["template"]["spec"]
    handover = (DEPLOY / "redis" / f"{form}handover.sh").read_text("utf-8")
    (seconds,) = map(int, re.findall(r"\$\{HANDOVER_SECONDS:-(\d+)\}", handover))
    shutdown = 10
    assert seconds + shutdown < template["terminationGracePeriodSeconds"]


@needs_kubectl
@pytest.mark.parametrize("overlay", ["aragora", "monitoring", "tls"])
def test_the_settings_can_be_used(build, overlay, tmp_path):
    objects = build(f"{REDIS}/overlays/{overlay}")
    environ = dict(named(objects, "ConfigMap", "aragora-redis")["data"])
    if "ARAGORA_REDIS_TLS_CA" in environ:
        authority = tmp_path / "ca.crt"
        authority.touch()
        environ["ARAGORA_REDIS_TLS_CA"] = str(authority)
    settings = from_env(environ | {"ARAGORA_REDIS_PASSWORD": "x" * 16})
    assert isinstance(settings.topology, Sentinel)
    assert [host.host for host in settings.topology.hosts] == [f"redis-{n}.redis" for n in range(3)]
    assert (settings.tls is not None) == (overlay == "tls")


@needs_kubectl
@pytest.mark.parametrize("overlay", CLUSTERS)
def test_gateways_are_sent_to_the_nodes_of_the_cluster_and_to_no_sentinel(build, overlay, tmp_path):
    objects = build(f"{REDIS}/overlays/{overlay}")
    environ = dict(named(objects, "ConfigMap", "aragora-redis")["data"])
    if "ARAGORA_REDIS_TLS_CA" in environ:
        (tmp_path / "ca.crt").touch()
        environ["ARAGORA_REDIS_TLS_CA"] = str(tmp_path / "ca.crt")
    settings = from_env(environ | {"ARAGORA_REDIS_PASSWORD": "x" * 16})
    assert isinstance(settings.topology, Cluster)
    expected = [f"redis-{n}.redis:6379" for n in range(6)]
    assert [str(node) for node in settings.topology.nodes] == expected
    assert (settings.tls is not None) == (overlay == "cluster-tls")
    rest = [each for each in objects if each["kind"] != "ConfigMap"]
    assert "sentinel" not in json.dumps(rest).lower()


@needs_kubectl
def test_the_pods_of_a_cluster_are_told_what_they_need_and_reach_each_other(build):
    objects = build(f"{REDIS}/overlays/cluster")
    stateful = named(objects, "StatefulSet", "redis")
    server, exporter = stateful["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each for each in server["env"]}
    fields = {
        name: each["valueFrom"]["fieldRef"]["fieldPath"]
        for name, each in env.items()
        if "valueFrom" in each
    }
    assert fields == {
        "NODE": "metadata.name",
        "ADDRESS": "status.podIP",
        "MACHINE": "spec.nodeName",
    }
    peers = [f"redis-{n}.redis.aragora.svc.cluster.local" for n in range(6)]
    assert env["PEERS"]["value"].split() == peers
    assert stateful["spec"]["replicas"] == len(peers)
    # At once, as each waits for all; known by name before that makes them ready.
    assert stateful["spec"]["podManagementPolicy"] == "Parallel"
    service = named(objects, "Service", "redis")["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    data, bus = (each["containerPort"] for each in server["ports"])
    assert bus == data + 10_000, "where Redis has it, unless it is told"
    policy = named(objects, "NetworkPolicy", "redis")["spec"]
    admitted = {
        json.dumps(peer["podSelector"]["matchLabels"]): [port["port"] for port in rule["ports"]]
        for rule in reversed(policy["ingress"])
        for peer in rule["from"]
    }
    assert admitted['{"redis-client": "true"}'] == ["redis"]
    assert [rule for rule in policy["ingress"] if {"port": "bus"} in rule["ports"]] == [
        {"from": [{"podSelector": {"matchLabels": {"app": "redis"}}}], "ports": [{"port": "bus"}]}
    ]
    assert {port["port"] for port in policy["egress"][0]["ports"]} == {data, bus}
    # Neither most primaries nor both of a shard at a time.
    assert named(objects, "PodDisruptionBudget", "redis")["spec"]["maxUnavailable"] == 1
    assert exporter["name"] == "exporter"


@needs_kubectl
def test_a_managed_redis_needs_nothing_of_ours(build):
    objects = build(f"{REDIS}/overlays/managed")
    assert not named(objects, "ConfigMap", "aragora-redis")["data"]
    assert not [each for each in objects if each["kind"] == "StatefulSet"]
    (gateway,) = (c for c in containers(objects) if c["name"] == "gateway")
    variables = {variable["name"] for variable in gateway["env"]}
    assert "ARAGORA_REDIS_URL" in variables
    assert not variables & {"ARAGORA_REDIS_PASSWORD_FILE", "ARAGORA_REDIS_SENTINEL_PASSWORD"}
    assert [mount["name"] for mount in gateway["volumeMounts"]] == ["outbox"]


@needs_kubectl
@pytest.mark.parametrize("path", [f"{REDIS}/gateway", f"{REDIS}/overlays/cluster"])
def test_the_outbox_of_a_gateway_is_on_a_disk_that_outlives_its_container(build, path):
    template = named(build(path), "Deployment", "aragora-gateway")["spec"]["template"]["spec"]
    (gateway,) = template["containers"]
    env = {each["name"]: each.get("value") for each in gateway["env"]}
    (mount,) = (each for each in gateway["volumeMounts"] if each["name"] == "outbox")
    # Not the volume itself, which belongs to root, and to the group of the pod.
    assert env["ARAGORA_TOKENS_OUTBOX"] == f"{mount['mountPath']}/outbox"
    assert not mount.get("readOnly")
    (volume,) = (each for each in template["volumes"] if each["name"] == "outbox")
    assert "medium" not in volume["emptyDir"], "memory outlives nothing"


@needs_kubectl
@pytest.mark.parametrize("overlay", ["tls", "cluster-tls"])
def test_tls_reaches_every_container_that_talks_to_redis(build, overlay):
    objects = build(f"{REDIS}/overlays/{overlay}")
    for container in containers(objects):
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "/run/tls" in mounts, container["name"]
    certificate = named(objects, "Certificate", "redis-tls")["spec"]
    assert "*.redis.aragora.svc.cluster.local" in certificate["dnsNames"]


@needs_kubectl
@pytest.mark.parametrize("path", BUILDS)
def test_another_deployment_builds_too(tmp_path, path):
    plan = Plan(namespace="other", nodes=5, maxmemory="2gb", storage="10Gi", master="m")
    write(render_tree(Kind.KUBERNETES, plan), tmp_path)
    fit_for_old_kustomize(tmp_path)
    command = [str(program("kubectl")), "kustomize", str(tmp_path / path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    pods = 6 if "cluster" in path else 5
    for each in yaml.safe_load_all(done.stdout):
        spaces = {each["metadata"].get("namespace"), each["metadata"]["name"]}
        assert "other" in spaces
        if each["kind"] == "StatefulSet":
            server, *_ = each["spec"]["template"]["spec"]["containers"]
            assert each["spec"]["replicas"] == pods
            assert server["resources"]["limits"]["memory"] == "4096Mi"
            peers = next(v["value"] for v in server["env"] if v["name"] == "PEERS")
            assert peers.split() == [
                f"redis-{n}.redis.other.svc.cluster.local" for n in range(pods)
            ]


@needs_kubectl
@pytest.mark.parametrize("path", [REDIS, *(f"{REDIS}/overlays/{name}" for name in CLUSTERS)])
def test_a_deployment_that_is_a_cluster_has_nothing_else(tmp_path, path):
    tree = render_tree(Kind.KUBERNETES, Plan.of_cluster(namespace="other", nodes=8))
    assert not [name for name, text in tree.items() if "SENTINEL" in text or "sentinel_" in text]
    write(tree, tmp_path)
    fit_for_old_kustomize(tmp_path)
    command = [str(program("kubectl")), "kustomize", str(tmp_path / path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    objects = list(yaml.safe_load_all(done.stdout))
    for each in objects:
        validate(each)
    assert named(objects, "StatefulSet", "redis")["spec"]["replicas"] == 8
    nodes = named(objects, "ConfigMap", "aragora-redis")["data"]["ARAGORA_REDIS_CLUSTER_NODES"]
    assert nodes.count(",") == 7
