"""The units are ones that systemd takes, closed as far as they can be, and fit the programs."""

from __future__ import annotations

import re
import shutil

import pytest
from tests.artefacts.files import DEPLOY, ran
from tests.artefacts.units import environment, parsed, variables

from aragora_redis.ops.manifests import Kind, Plan, render, write
from aragora_redis.settings import Sentinel, from_env

PLANS = {
    "defaults": Plan(),
    "five": Plan(
        nodes=5,
        master="shop.state",
        maxmemory="1gb",
        environment={"ARAGORA_LOG_FORMAT": "json", "ARAGORA_JWT_ISSUER": 'a$b: "c" \\ `d`\''},
    ),
}
UNITS = ("aragora-redis@.service", "aragora-sentinel@.service", "aragora-gateway.service")
SPECIFIERS = {"%i": "1", "%S": "/var/lib", "%d": "/run/credentials/unit"}
EXPOSURE = 1.2
"""What `systemd-analyze security` says is 1.0 for each; 10 is a unit without any measure."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]


@pytest.fixture
def deployed(plan, tmp_path):
    """deploy/ as this plan renders it."""
    for kind in (Kind.CONFIG, Kind.SYSTEMD):
        write(render(kind, plan), tmp_path / "deploy" / kind.place)
    return tmp_path / "deploy" / "systemd"


@pytest.fixture
def installed(deployed, tmp_path):
    said, code = ran("sh", deployed / "install.sh", env={"PATH": PATH, "DESTDIR": f"{tmp_path}/to"})
    assert code == 0, said
    return tmp_path / "to"


PATH = "/usr/bin:/bin"


@needs_systemd
def test_systemd_takes_the_units(deployed):
    assert ran("systemd-analyze", "verify", *(deployed / unit for unit in UNITS)) == ("", 0)


@needs_systemd
def test_little_is_exposed():
    said, code = ran(
        *("systemd-analyze", "security", "--offline=yes", f"--threshold={round(10 * EXPOSURE)}"),
        *(DEPLOY / "systemd" / unit for unit in UNITS),
    )
    assert code == 0, re.findall("→.*", said)
    assert said.count("→ Overall exposure level") == len(UNITS)


def test_all_units_are_closed_alike(deployed):
    def measures(unit):
        return (deployed / unit).read_text().partition("DynamicUser")[2]

    assert measures(UNITS[0]) == measures(UNITS[1]) == measures(UNITS[2]) != ""


def test_memory_is_that_of_the_plan(plan, deployed):
    unit = parsed((deployed / UNITS[0]).read_text(), SPECIFIERS)
    assert unit["MemoryMax"] == [f"{plan.memory_limit_mib}M"]


@pytest.mark.parametrize("part", ["redis", "sentinel"])
def test_start_program_is_told_what_it_asks_for(plan, installed, part):
    unit = parsed(
        (installed / f"etc/systemd/system/aragora-{part}@.service").read_text(), SPECIFIERS
    )
    env = environment(unit, installed)
    assert env == {
        "NODE": f"{part}-1",
        "DATA": f"/var/lib/{unit['StateDirectory'][0]}",
        "CONFIG": "/etc/aragora-redis",
        "SECRETS": "/run/credentials/unit",
        "PEERS": " ".join(f"127.0.0.{11 + number}" for number in range(plan.nodes)),
        "BIND": "127.0.0.12",
        "LOCAL": "127.0.0.12",
        "REDIS_PORT": "6379",
        "SENTINEL_PORT": "26379",
        "MASTER_NAME": plan.master,
        "QUORUM": str(plan.quorum),
    }
    assert unit["ExecStart"] == [f"/bin/sh /usr/local/lib/aragora-redis/start.sh {part}"]
    for command in ("ExecStart", "ExecStop", "ExecReload"):
        for line in unit.get(command, []):
            (program,) = re.findall(r"/bin/sh (/usr/local/lib/\S+)", line)
            assert (installed / program[1:]).exists()
    for number in range(plan.nodes):
        file = installed / f"etc/aragora-redis/node-{number}.env"
        address = f"127.0.0.{11 + number}"
        assert variables(file) == {"BIND": address, "LOCAL": address}
    for name in ("redis-master.conf", "redis-replica.conf", "sentinel.conf"):
        assert (installed / "etc/aragora-redis" / name).exists()


@pytest.mark.parametrize("name", UNITS)
def test_secrets_are_credentials_of_files_that_are_installed(installed, name):
    text = (installed / "etc/systemd/system" / name).read_text()
    unit = parsed(text, SPECIFIERS)
    for credential in unit["LoadCredential"]:
        called, _, file = credential.partition(":")
        assert file == f"/etc/aragora-redis/secrets/{called}"
        assert (installed / file[1:]).exists()
        secret = (installed / file[1:]).read_text()
        assert not secret or secret not in text
    assert (installed / "etc/aragora-redis/secrets").stat().st_mode & 0o077 == 0
    for _, used in re.findall(r"([A-Z_]+)=([a-z-]+)(?= )", unit["ExecStart"][0]):
        assert used in {each.partition(":")[0] for each in unit["LoadCredential"]}


def test_only_the_first_process_of_a_gateway_is_told_to_end(deployed):
    assert "\nKillMode=mixed\n" in (deployed / "aragora-gateway.service").read_text()


def test_the_gateway_takes_its_settings(plan, installed):
    unit = parsed((installed / f"etc/systemd/system/{UNITS[2]}").read_text(), SPECIFIERS)
    env = environment(unit, installed)
    assert {key: env[key] for key in plan.environment} == dict(plan.environment)
    password = installed / "etc/aragora-redis/secrets/password"
    assert env["ARAGORA_REDIS_PASSWORD_FILE"] == "/run/credentials/unit/password"
    assert env["ARAGORA_TOKENS_OUTBOX"] == f"/var/lib/{unit['StateDirectory'][0]}/outbox"
    here = {
        "ARAGORA_REDIS_PASSWORD_FILE": str(password),
        "ARAGORA_TOKENS_OUTBOX": str(installed / "outbox"),
    }
    settings = from_env(env | here)
    assert isinstance(settings.topology, Sentinel)
    assert [str(each) for each in settings.topology.hosts] == [
        f"127.0.0.{11 + number}:26379" for number in range(plan.nodes)
    ]
    assert settings.topology.master == plan.master
    assert settings.gateway.host == "127.0.0.1"


def test_another_installation_keeps_what_was_decided_here(plan, deployed, installed, tmp_path):
    etc = installed / "etc/aragora-redis"
    decided = {
        name: f"# {name} of this site\n" for name in ("site.env", "gateway.env", "node-0.env")
    }
    for name, text in decided.items():
        (etc / name).write_text(text)
    password = (etc / "secrets/password").read_text()
    (etc / "sentinel.conf").write_text("old")
    ran("sh", deployed / "install.sh", env={"PATH": PATH, "DESTDIR": f"{tmp_path}/to"})
    assert {name: (etc / name).read_text() for name in decided} == decided
    assert (etc / "secrets/password").read_text() == password
    assert (etc / "sentinel.conf").read_text() == render(Kind.CONFIG, plan)["sentinel.conf"]


def test_an_operator_is_somebody_else(installed, tmp_path):
    """The program is told the operator's name and secret, and what the gateway is told."""
    script = installed / "usr/local/lib/aragora-redis/operator.sh"
    here = tmp_path / "operator.sh"
    text = script.read_text()
    for place in ("/etc/aragora-redis", "/usr/local/lib/aragora-redis", "/opt/aragora-redis"):
        text = text.replace(place, f"{installed}{place}")
    here.write_text(text)
    program = installed / "opt/aragora-redis/bin/aragora-redis"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s " "$@"\nenv\n')
    program.chmod(0o755)
    said, code = ran("sh", here, "doctor", "--json", env={"PATH": PATH})
    assert code == 0, said
    assert said.startswith("doctor --json ")
    secrets = installed / "etc/aragora-redis/secrets"
    for line in (
        "ARAGORA_REDIS_MODE=sentinel",
        "ARAGORA_REDIS_USERNAME=operator",
        "ARAGORA_REDIS_SENTINEL_USERNAME=operator",
        f"ARAGORA_REDIS_PASSWORD_FILE={secrets}/operator-password",
        f"ARAGORA_REDIS_SENTINEL_PASSWORD={(secrets / 'operator-password').read_text()}",
    ):
        assert line in said
