"""deploy/terraform: what the providers' schemas, the settings and the clouds demand of it.

Where terraform is on the PATH it judges the modules itself, with a stand-in for the providers (see
terraform/stub.py); the tests before that need nothing and look at the files.
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.artefacts.terraform import schema, stub
from tests.artefacts.terraform.module import Module, misaligned, misfits

from aragora_redis import SharedState
from aragora_redis.ops.asking import _LINK, _NEVER
from aragora_redis.scripts.catalog import commands_used
from aragora_redis.settings import Standalone, from_env
from aragora_redis.settings.environment import variables

ROOT = Path(__file__).parents[2]
CLOUDS = ("aws", "gcp", "azure")
MODULES = {cloud: Module(ROOT / "deploy" / "terraform" / cloud) for cloud in CLOUDS}
SCHEMAS = {
    cloud: json.loads((ROOT / f"tests/artefacts/terraform/schema_{cloud}.json").read_text())
    for cloud in CLOUDS
}
SOURCES = sorted(
    path
    for module in MODULES.values()
    for pattern in ("*.tf", "tests/*.hcl")
    for path in module.path.glob(pattern)
)
ENVIRONMENTS = [
    pytest.param(environment, id=f"{cloud}-{index}")
    for cloud in CLOUDS
    for index, environment in enumerate(MODULES[cloud].environments)
]

each_cloud = pytest.mark.parametrize("cloud", CLOUDS)


def resource(address):
    for module in MODULES.values():
        if address in module.resources:
            return module.resources[address]
    raise AssertionError(address)


# Looking at the files.


@pytest.mark.parametrize(
    "path",
    [pytest.param(each, id=str(each.relative_to(ROOT))) for each in SOURCES],
)
def test_indents_and_equals_signs_are_those_of_terraform_fmt(path):
    text = path.read_text()
    assert list(misaligned(text)) == []
    assert text.endswith("}\n")


@each_cloud
def test_each_module_has_its_files(cloud):
    module = MODULES[cloud]
    assert set(module.files) == {"versions.tf", "variables.tf", "main.tf", "outputs.tf"}
    assert (module.path / "README.md").is_file()
    assert list(module.path.glob("tests/*.tftest.hcl"))


@each_cloud
def test_resources_are_what_the_provider_knows(cloud):
    (provider,) = SCHEMAS[cloud]["provider_schemas"].values()
    for address, body in MODULES[cloud].resources.items():
        kinds = "data_source_schemas" if address.startswith("data.") else "resource_schemas"
        kind = address.removeprefix("data.").partition(".")[0]
        assert list(misfits(body, provider[kinds][kind]["block"], address)) == []


@each_cloud
def test_the_schema_is_of_the_version_that_the_module_asks_for(cloud):
    document, (terraform,) = SCHEMAS[cloud], MODULES[cloud].blocks("terraform")
    provider, requirement = schema.WHEELS[cloud]
    assert document["written_by"].endswith(f" from {requirement}")
    (required,) = terraform["required_providers"]
    assert required[provider]["version"] == "~> " + ".".join(
        document["provider_version"].split(".")[:2]
    )


@each_cloud
def test_variables_are_described_typed_checked_and_used(cloud):
    module = MODULES[cloud]
    for name, body in module.named("variable").items():
        assert {"description", "type"} <= set(body), name
        assert body["validation"], name
        assert all(each["error_message"] for each in body["validation"]), name
        assert f"var.{name}" in module.references, name


@each_cloud
def test_references_lead_somewhere(cloud):
    module = MODULES[cloud]
    assert module.references - module.names == set()
    assert {each for each in module.names if each.startswith("local.")} <= module.references


# What services are given.


@each_cloud
def test_the_environment_is_sensitive_and_names_settings_only(cloud):
    outputs = MODULES[cloud].named("output")
    environment = outputs["aragora_environment"]
    assert environment["sensitive"] is True
    named = set(re.findall(r"\bARAGORA_\w+", str(environment["value"])))
    assert named <= set(variables())
    assert named == {name for each in MODULES[cloud].environments for name in each}
    for name, body in outputs.items():
        assert body["description"], name
        if name != "aragora_environment":
            assert "password" not in str(body["value"]), name


@each_cloud
def test_no_url_is_in_clear(cloud):
    module = MODULES[cloud]
    assert re.findall(r"\bredis\w*://", (module.path / "outputs.tf").read_text())
    assert not re.findall(r"\bredis://", (module.path / "outputs.tf").read_text())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_environment_loads_with_tls_and_a_password(environment, tmp_path):
    for name in ("ARAGORA_REDIS_TLS_CA", "ARAGORA_REDIS_PASSWORD_FILE"):
        if name in environment:
            assert environment[name].startswith("/")
            (tmp_path / name).write_text("a token of IAM")
            environment = environment | {name: str(tmp_path / name)}
    settings = from_env(environment | {"ARAGORA_DIGEST_KEY": "a-key-of-the-deployment"})
    assert settings.mode == "standalone"
    assert isinstance(settings.topology, Standalone)
    assert settings.tls is not None
    assert settings.tls.verify != "none"
    password = settings.credentials.password()
    assert password is not None
    assert password.reveal() == environment.get("ARAGORA_REDIS_PASSWORD", "a token of IAM")
    assert settings.warnings == ()


def test_no_secret_is_written_down():
    secret = MODULES["aws"].named("variable")["redis_auth_token"]
    assert secret["sensitive"] is True
    assert "default" not in secret
    for module in MODULES.values():
        for name in module.references:
            if name.startswith("var.") and re.search("token|password|key$", name):
                assert name in {"var.redis_auth_token", "var.iam_token_path"}


@pytest.mark.parametrize(
    ("cloud", "defaults"),
    [
        (
            "aws",
            {
                "name": "aragora-redis",
                "environment": "production",
                "node_type": "cache.t3.micro",
                "num_cache_clusters": 2,
                "snapshot_retention_limit": 7,
                "maintenance_window": "sun:05:00-sun:09:00",
            },
        ),
        (
            "gcp",
            {
                "name": "aragora-redis",
                "region": "us-central1",
                "memory_size_gb": 1,
                "redis_version": "REDIS_7_0",
                "maintenance_day": "SUNDAY",
                "maintenance_hour": 5,
            },
        ),
    ],
    ids=["aws", "gcp"],
)
def test_defaults_are_the_guides(cloud, defaults):
    variable = MODULES[cloud].named("variable")
    assert {name: variable[name]["default"] for name in defaults} == defaults


# Rules of the clouds, which a provider learns from the API while it applies.


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "aws_elasticache_replication_group.aragora",
            {
                "automatic_failover_enabled": True,
                "multi_az_enabled": True,
                "at_rest_encryption_enabled": True,
                "transit_encryption_enabled": True,
                "auth_token": "${local.rbac ? null : var.redis_auth_token}",
                "parameter_group_name": "${aws_elasticache_parameter_group.aragora.name}",
            },
        ),
        (
            "google_redis_instance.aragora",
            {
                "tier": "STANDARD_HA",
                "auth_enabled": True,
                "transit_encryption_mode": "SERVER_AUTHENTICATION",
                "connect_mode": "PRIVATE_SERVICE_ACCESS",
                "depends_on": ["${google_service_networking_connection.aragora}"],
            },
        ),
        (
            "google_memorystore_instance.aragora",
            {
                "mode": "CLUSTER_DISABLED",
                "shard_count": 1,
                "replica_count": 1,
                "authorization_mode": "IAM_AUTH",
                "transit_encryption_mode": "SERVER_AUTHENTICATION",
                "depends_on": ["${google_network_connectivity_service_connection_policy.aragora}"],
            },
        ),
        (
            "azurerm_managed_redis.aragora",
            {"high_availability_enabled": True, "public_network_access": "Disabled"},
        ),
        (
            "azurerm_redis_cache.aragora",
            {
                "sku_name": "Premium",
                "zones": "${var.premium_zones}",
                "non_ssl_port_enabled": False,
                "minimum_tls_version": "1.2",
                "public_network_access_enabled": False,
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_replica_elsewhere_a_closed_wire_and_a_closed_door(address, expected):
    body = resource(address)
    assert {name: body.get(name) for name in expected} == expected


def test_nothing_is_evicted_anywhere():
    (parameter,) = resource("aws_elasticache_parameter_group.aragora")["parameter"]
    assert (parameter["name"], parameter["value"]) == ("maxmemory-policy", "noeviction")
    policy = {"maxmemory-policy": "noeviction"}
    assert resource("google_redis_instance.aragora")["redis_configs"] == policy
    assert resource("google_memorystore_instance.aragora")["engine_configs"] == policy
    (database,) = resource("azurerm_managed_redis.aragora")["default_database"]
    assert database["eviction_policy"] == "NoEviction"
    (configuration,) = resource("azurerm_redis_cache.aragora")["redis_configuration"]
    assert configuration["maxmemory_policy"] == "noeviction"


def test_managed_redis_is_encrypted_on_its_own_port_and_no_cluster():
    body = resource("azurerm_managed_redis.aragora")
    (database,) = body["default_database"]
    assert database["client_protocol"] == "Encrypted"
    assert database["access_keys_authentication_enabled"] is True
    assert database["clustering_policy"] == "NoCluster"
    (lifecycle,) = body["lifecycle"]
    (postcondition,) = lifecycle["postcondition"]
    assert postcondition["condition"] == "${self.default_database[0].port == 10000}"


def minutes(window):
    """A window's minutes of the day; a maintenance window is shorter than a day here."""
    start, end = (
        60 * int(hour) + int(minute) for hour, minute in re.findall(r"(\d\d):(\d\d)", window)
    )
    return {minute % 1440 for minute in range(start, end if end > start else end + 1440)}


def test_the_windows_do_not_overlap_as_the_guides_do():
    variable = MODULES["aws"].named("variable")
    maintenance = minutes(variable["maintenance_window"]["default"])
    assert maintenance == minutes("sun:05:00-sun:09:00")
    assert not minutes(variable["snapshot_window"]["default"]) & maintenance
    assert minutes("05:00-09:00") & maintenance


@pytest.mark.parametrize(
    ("token", "taken"),
    [
        ("x" * 15, False),
        ("x" * 16, True),
        ("aZ09!&#$^<>-" * 4, True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("sixteen-or-more@", False),
        ("sixteen-or-more/", False),
        ('sixteen-or-more"', False),
        ("sixteen or more!", False),
    ],
)
def test_tokens_are_those_that_elasticache_takes(token, taken):
    (validation,) = MODULES["aws"].named("variable")["redis_auth_token"]["validation"]
    pattern = re.search(r'regex\("(.*?)", var', validation["condition"])
    assert pattern
    assert bool(re.search(pattern[1], token)) is taken


async def test_the_acl_user_may_do_what_we_do_and_nothing_else(standalone_lab, connect):
    access = resource("aws_elasticache_user.aragora")["access_string"]
    rules = access.replace("${var.key_prefix}", "aragora").split()
    admin = connect(standalone_lab)
    admin.execute_command("ACL", "SETUSER", "artefact", "reset", ">of-the-artefact", *rules)
    try:
        admin.execute_command("ACL", "LOG", "RESET")
        environment = {
            "ARAGORA_REDIS_URL": f"redis://127.0.0.1:{standalone_lab.node('primary').port}",
            "ARAGORA_REDIS_USERNAME": "artefact",
            "ARAGORA_REDIS_PASSWORD": "of-the-artefact",
            "ARAGORA_DIGEST_KEY": "a-key-of-the-deployment",
        }
        async with SharedState(from_env(environment)) as state:
            await state.rate_limits.check("api", subject="artefact")
            await state.tokens.revoke("artefact", expires_at=time.time() + 60, reason="test")
            session = await state.sessions.create(user="artefact", data={})
            await state.sessions.update(session, set={"seen": 1})
            async with state.circuits["artefact"]:
                pass
        refused = [each["object"] for each in admin.execute_command("ACL", "LOG")]
        # Redis 6.2 has no ACL DRYRUN.
        asked = (*_LINK, *commands_used(), *_NEVER) if major(admin) >= 7 else ()
        may = {command: dry_run(admin, command) for command in asked}
    finally:
        admin.execute_command("ACL", "DELUSER", "artefact")
    assert refused == []
    assert [command for command, allowed in may.items() if allowed == (command in _NEVER)] == []


def major(admin):
    return int(admin.info("server")["redis_version"].partition(".")[0])


def dry_run(admin, command):
    (details,) = admin.execute_command("COMMAND", "INFO", command).values()
    words = command.split("|")
    words += ["aragora:key"] * (abs(details["arity"]) - len(words))
    return admin.execute_command("ACL", "DRYRUN", "artefact", *words) == "OK"


# Terraform itself.


def why_no_terraform():
    """Why terraform cannot judge here, or None."""
    if shutil.which("terraform") is None:
        return "terraform is not on the PATH"
    version = json.loads(run_terraform(ROOT, "version", "-json").stdout)["terraform_version"]
    if tuple(map(int, version.split("-")[0].split(".")[:2])) < (1, 9):
        return f"terraform {version} is older than 1.9"
    return None


def run_terraform(directory, *arguments, **environment):
    return subprocess.run(
        ["terraform", *arguments],
        cwd=directory,
        env=os.environ
        | {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


WHY_NO_TERRAFORM = why_no_terraform()
needs_terraform = pytest.mark.skipif(WHY_NO_TERRAFORM is not None, reason=str(WHY_NO_TERRAFORM))


@pytest.fixture(scope="module")
def terraform():
    """Runs terraform, which must succeed, with a stand-in for the providers."""
    with stub.providers(SCHEMAS) as environment:

        def run(directory, *arguments):
            result = run_terraform(directory, *arguments, "-no-color", **environment)
            assert result.returncode == 0, result.stdout + result.stderr
            return result.stdout

        yield run


@needs_terraform
def test_terraform_would_format_nothing():
    result = run_terraform(ROOT / "deploy" / "terraform", "fmt", "-check", "-diff", "-recursive")
    assert (result.returncode, result.stdout) == (0, "")


@needs_terraform
@each_cloud
def test_terraform_finds_the_module_valid_and_its_tests_pass(cloud, terraform, tmp_path):
    module = shutil.copytree(MODULES[cloud].path, tmp_path / cloud)
    terraform(module, "init", "-backend=false", "-input=false")
    terraform(module, "validate")
    summary = terraform(module, "test")
    assert re.search(r"Success! \d+ passed, 0 failed\.", summary), summary


@needs_terraform
@each_cloud
def test_the_readmes_example_is_valid(cloud, terraform, tmp_path):
    (example,) = re.findall(
        r"```hcl\n(.*?)```", (MODULES[cloud].path / "README.md").read_text(), re.DOTALL
    )
    (tmp_path / "main.tf").write_text(example)
    shutil.copytree(MODULES[cloud].path, tmp_path / "deploy" / "terraform" / cloud)
    terraform(tmp_path, "init", "-backend=false", "-input=false")
    terraform(tmp_path, "validate")
    terraform(tmp_path, "fmt", "-check", "main.tf")
