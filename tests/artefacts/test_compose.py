"""The compose file is one that Compose takes, and its parts fit each other and the programs."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from tests.artefacts.files import BIN, DEPLOY, ROOT, SECRET_NAMES, ran

from aragora_redis.ops.manifests import Kind, Plan, render
from aragora_redis.settings import Cluster, Sentinel, from_env

PLANS = {
    "defaults": Plan(),
    "five": Plan(
        namespace="shop",
        nodes=5,
        master="shop.state",
        maxmemory="1gb",
        environment={"ARAGORA_LOG_FORMAT": "json", "ARAGORA_JWT_ISSUER": 'a$b: "c" #d'},
    ),
    "cluster": Plan.of_cluster(),
    "cluster of ten": Plan.of_cluster(
        namespace="shop", nodes=10, environment={"ARAGORA_LOG_FORMAT": "json"}
    ),
}
REACHED = ("gateway", "redis-exporter")
PROGRAMS = "/mnt/config"


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]


@pytest.fixture
def text(plan):
    return render(Kind.COMPOSE, plan)["cluster.yaml" if plan.cluster else "compose.yaml"]


@pytest.fixture
def compose(text):
    return yaml.safe_load(text)


@pytest.fixture
def services(compose):
    return compose["services"]


def servers_of(plan):
    parts = ("redis",) if plan.cluster else ("redis", "sentinel")
    return [(name, f"{name}-{number}") for number in range(plan.nodes) for name in parts]


def expanded(text):
    """What Compose makes of a text; it takes what follows a single $ for a variable."""

    def meant(found):
        assert found[0] == "$$" or found[1] is not None, text
        return "$" if found[0] == "$$" else found[1]

    return re.sub(r"\$\$|\$\{SUBNET:-([^}]*)\}|\$", meant, text)


def test_the_schema_of_compose_takes_it(text, tmp_path):
    file = tmp_path / "compose.yaml"
    file.write_text(text, "utf-8")
    said, code = ran(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)
    assert code == 0, said


def test_there_is_a_redis_for_each_node_and_a_sentinel_where_they_belong(plan, text, services):
    assert not plan.cluster or "sentinel" not in text.lower()
    assert {name for _, name in servers_of(plan)} == set(services) - {"operator", *REACHED}


def test_what_is_mounted_is_there(services):
    for service in services.values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "compose" / source).exists()
                assert mount.endswith(":ro")


def test_what_is_named_is_declared(compose, services):
    for name, service in services.items():
        assert set(service["secrets"]) <= set(compose["secrets"]), name
        assert set(service["networks"]) <= set(compose["networks"]), name
        named = {mount.split(":")[0] for mount in service["volumes"] if mount[0] not in "./"}
        assert named <= set(compose["volumes"]), name
    kept = [
        mount
        for name, service in services.items()
        for mount in service["volumes"]
        if mount[0] not in "./" and name != "operator"
    ]
    assert len(kept) == len(set(kept)) == len(compose["volumes"])


def test_every_secret_is_a_file_that_git_does_not_know_and_the_script_makes(compose, tmp_path):
    ran("sh", DEPLOY / "compose" / "make-secrets.sh", tmp_path / "secrets")
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert (tmp_path / "secrets" / name).exists()
        assert ran("git", "-C", ROOT, "check-ignore", f"deploy/compose/secrets/{name}")[1] == 0


def test_no_secret_is_in_the_environment(services):
    for name, service in services.items():
        for variable, value in service["environment"].items():
            if "PASSWORD" in variable or {"TOKEN", "KEY"} & set(variable.split("_")):
                assert variable == "ARAGORA_REDIS_PASSWORD_FILE", name
                assert value.startswith("/run/secrets/")


def test_only_gateway_and_exporter_can_be_reached_and_from_this_host_alone(compose, services):
    for name, service in services.items():
        assert bool(service.get("ports")) == (name in REACHED)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert ("outside" in service["networks"]) == (name in REACHED)
    assert compose["networks"]["servers"]["internal"] is True


def test_each_host_has_one_address_that_everybody_knows(plan, services):
    names = {name for _, name in servers_of(plan)}
    lower_half = re.compile(r"172\.31\.240\.(\d+)")
    addresses = set()
    for name in names:
        address = expanded(services[name]["networks"]["servers"]["ipv4_address"])
        found = lower_half.fullmatch(address)
        assert found
        assert 1 < int(found[1]) < 128
        addresses.add(address)
        for service in services.values():
            assert expanded(service["extra_hosts"][name]) == address
    assert len(addresses) == len(names)


def test_each_is_told_all_servers_and_all_sentinels(plan, services):
    for part, name in servers_of(plan):
        env = services[name]["environment"]
        assert env["PEERS"].split() == list(plan.pods)
        assert env["NODE"] == env["ANNOUNCE"] == name
        if plan.cluster:
            own = services[name]["networks"]["servers"]["ipv4_address"]
            assert env["ADDRESS"] == own, "which it tells the others"
            continue
        assert env["SENTINELS"].split() == [f"sentinel-{number}" for number in range(plan.nodes)]
        assert (env["MASTER_NAME"], env["QUORUM"]) == (plan.master, str(plan.quorum))
        assert services[name]["command"] == [part]


def test_each_is_kept_to_what_it_needs(plan, services):
    for name, service in services.items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True
        assert service["restart"] == ("no" if name == "operator" else "unless-stopped")
        assert service["logging"]["options"]["max-size"]
        assert service["mem_limit"]
        assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    for part, name in servers_of(plan):
        assert services[name]["user"] == "999:1000"
        wanted = f"{plan.memory_limit_mib}m" if part == "redis" else "64m"
        assert services[name]["mem_limit"] == services[name]["memswap_limit"] == wanted


def test_servers_run_the_programs_that_all_share(plan, services):
    for part, name in servers_of(plan):
        probe = ["cluster-probe.sh"] if plan.cluster else ["probe.sh", part]
        start = "cluster-start.sh" if plan.cluster else "start.sh"
        told = ["CMD", "sh", f"{PROGRAMS}/{probe[0]}", *probe[1:], "ready"]
        assert services[name]["healthcheck"]["test"] == told
        assert services[name]["entrypoint"] == ["sh", f"{PROGRAMS}/{start}"]
        for program in (probe[0], start):
            assert program in render(Kind.CONFIG, plan)
    assert "healthcheck" not in services["gateway"], "that of the image is the right one"


@pytest.mark.parametrize("name", ["gateway", "operator"])
def test_the_program_takes_its_settings(plan, services, name, tmp_path):
    service = services[name]
    for secret in service["secrets"]:
        (tmp_path / secret).write_text(f"the-{secret}-of-this-test")
    shown, code = ran(
        *lent(service["entrypoint"], "env", "-0"),
        env={"PATH": "/usr/bin:/bin", "SECRETS": tmp_path},
    )
    assert code == 0, shown
    env = dict(line.split("=", 1) for line in shown.strip("\0").split("\0"))
    env |= {
        key: expanded(value).replace("/run/secrets", str(tmp_path))
        for key, value in service["environment"].items()
    }
    (volume,) = (m.split(":")[1] for m in service["volumes"] if m.startswith("gateway:"))
    assert env["ARAGORA_TOKENS_OUTBOX"] == f"{volume}/outbox"
    settings = from_env(env | {"ARAGORA_TOKENS_OUTBOX": f"{tmp_path}/outbox"})
    assert settings.warnings == ()
    match settings.topology:
        case Sentinel(master, hosts):
            assert [str(each) for each in hosts] == [
                f"sentinel-{number}:26379" for number in range(plan.nodes)
            ]
            assert master == plan.master
        case Cluster(nodes):
            assert [str(each) for each in nodes] == [f"{pod}:6379" for pod in plan.pods]
    assert isinstance(settings.topology, Cluster if plan.cluster else Sentinel)
    for key, value in plan.environment.items():
        assert env[key] == value


def lent(entrypoint, *program):
    """The entrypoint with another program, and the script where it is here."""
    end = entrypoint.index("--")
    script = {"/with-secrets.sh": str(DEPLOY / "compose" / "with-secrets.sh")}
    return [*(script.get(word, word) for word in entrypoint[: end + 1]), *program]


def test_secrets_are_made_once_and_closed(tmp_path):
    made = DEPLOY / "compose" / "make-secrets.sh"
    secrets = tmp_path / "with space" / "secrets"
    said, code = ran("sh", made, secrets)
    assert code == 0, said
    first = {file.name: file.read_text() for file in secrets.iterdir()}
    assert {name for name, text in first.items() if text} == SECRET_NAMES
    assert len({text for text in first.values() if text}) == len(SECRET_NAMES)
    assert all(len(text) == 64 for text in first.values() if text)
    assert secrets.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in secrets.iterdir())
    (secrets / "password").unlink()
    assert ran("sh", made, secrets) == (f"made {secrets / 'password'}\n", 0)
    second = {file.name: file.read_text() for file in secrets.iterdir()}
    assert {name for name in first if first[name] != second[name]} == {"password"}


def test_a_program_is_not_started_without_its_secrets(tmp_path):
    script = DEPLOY / "compose" / "with-secrets.sh"
    for words in ("A=missing -- echo RAN", "A=missing"):
        said, code = ran("sh", script, *shlex.split(words), env={"SECRETS": str(tmp_path)})
        assert code != 0
        assert "RAN" not in said
