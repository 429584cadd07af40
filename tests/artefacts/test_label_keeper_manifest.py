"""deploy/k8s/redis/keeper: that Kubernetes takes it, and that it fits the command and the rest."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from typer.testing import CliRunner

from aragora_redis.address import Address
from aragora_redis.cli.app import command_line
from aragora_redis.ops.manifests import Kind, Plan, render
from aragora_redis.settings import Sentinel, from_env

PATH = "keeper/label-keeper.yaml"


def objects(plan=None):
    rendered = render(Kind.KUBERNETES, plan or Plan())
    return {each["kind"]: each for each in yaml.safe_load_all(rendered[PATH])}


def pod(plan=None):
    return objects(plan)["Deployment"]["spec"]["template"]


def environment(plan, mounted):
    """The environment of the container, with what is mounted found elsewhere."""
    (container,) = pod(plan)["spec"]["containers"]
    mount = next(each for each in container["volumeMounts"] if each["name"] == "auth")
    (mounted / "password").write_text("a-password")
    return {
        each["name"]: each.get("value", "a-password").replace(mount["mountPath"], str(mounted))
        for each in container["env"]
    }


def test_kubernetes_takes_it():
    for each in objects().values():
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_it_may_do_what_it_does_and_nothing_else():
    found = objects()
    (rule,) = found["Role"]["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]}
    binding = found["RoleBinding"]
    assert binding["roleRef"]["name"] == found["Role"]["metadata"]["name"]
    (subject,) = binding["subjects"]
    account = found["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert pod()["spec"]["serviceAccountName"] == account["name"]
    assert pod()["spec"]["automountServiceAccountToken"] is True


def test_there_is_one_at_a_time():
    spec = objects()["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert spec["selector"]["matchLabels"].items() <= pod()["metadata"]["labels"].items()


def test_it_has_no_rights_in_its_container():
    (container,) = pod()["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod()["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_command_takes_its_arguments_and_answers_its_probes():
    (container,) = pod()["spec"]["containers"]
    # It gets as far as to find no settings.
    result = CliRunner(env={"ARAGORA_REDIS_MODE": "embedded"}).invoke(
        command_line(), container["args"]
    )
    assert "the mode is embedded" in str(result.exception)
    (port,) = container["ports"]
    assert container["args"][-1] == str(port["containerPort"])
    probes = {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert {each["port"] for each in probes.values()} == {port["name"]}
    assert [each["path"] for each in probes.values()] == ["/livez", "/readyz"]


@pytest.mark.parametrize("nodes", [3, 5])
def test_it_asks_every_sentinel(tmp_path, nodes):
    settings = from_env(environment(Plan(nodes=nodes, master="other"), tmp_path))
    hosts = tuple(Address(f"redis-{number}.redis", 26379) for number in range(nodes))
    assert settings.topology == Sentinel("other", hosts)
    assert settings.credentials.password() is not None


def test_the_service_is_led_by_the_labels_that_it_writes():
    rendered = render(Kind.KUBERNETES, Plan())
    services = yaml.safe_load_all(rendered["base/services.yaml"])
    (master,) = (each for each in services if each["metadata"]["name"] == "redis-master")
    assert master["spec"]["selector"] == {"app": "redis", "role": "master"}


def test_under_tls_it_finds_the_authority_that_the_settings_name():
    rendered = render(Kind.KUBERNETES, Plan())
    settings = yaml.safe_load(rendered["overlays/tls/settings.yaml"])
    (container,) = pod()["spec"]["containers"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": settings["metadata"]["name"], "optional": True}}
    ]
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "tls")
    (volume,) = (each["secret"] for each in pod()["spec"]["volumes"] if each["name"] == "tls")
    (item,) = volume["items"]
    assert settings["data"]["ARAGORA_REDIS_TLS_CA"] == f"{mount['mountPath']}/{item['path']}"
    assert volume["optional"] is True


def test_the_image_holds_what_it_needs():
    text = (Path(__file__).parents[2] / "Dockerfile").read_text()
    extras = re.search(r"'\.\[(.*)\]'", text)
    assert extras is not None
    assert "kubernetes" in extras[1].split(",")
