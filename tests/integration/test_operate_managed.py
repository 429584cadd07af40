"""`health`, `doctor` and `status` where a managed service keeps commands from its clients."""

from __future__ import annotations

import json

import pytest
from tests.integration.rights import needs_tls

from aragora_redis.lab import Lab
from aragora_redis.lab.service import FORBIDDEN

UNSEEN = "not seen, as the service forbids INFO: its memory, clients, disk and version"
MORE = "not seen, as the service forbids INFO, CONFIG, ACL: "

pytestmark = needs_tls


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """One that forbids nearly all; the tests leave it whole."""
    forbidden = (*FORBIDDEN, "INFO", "CLIENT", "COMMAND")
    directory = tmp_path_factory.mktemp("managed") / "lab"
    lab = Lab.create(directory, "managed", ports="free", forbidden=forbidden)
    lab.start()
    yield lab
    lab.stop()


def test_what_is_forbidden_is_no_fault(cli, service):
    where = ("--lab", str(service.directory))
    code, out, _ = cli("health", *where)
    assert (code, out.splitlines()[:2]) == (
        0,
        ["OK: Redis healthy (standalone or managed)", f"- {UNSEEN}"],
    )
    assert cli("health", "--probe", "ready", *where)[:1] == (0,)
    code, out, _ = cli("doctor", *where)
    first, note = out.splitlines()
    assert (code, first.startswith("OK: nothing is wrong"), note[2:].startswith(MORE)) == (
        0,
        True,
        True,
    )
    code, out, _ = cli("doctor", "--connect", *where)
    assert (code, "-> AUTH" in out, "ROLE" in out, "-> WRITE" in out) == (0, True, False, True)
    code, out, _ = cli("status", "--json", *where)
    told = json.loads(out)
    assert (code, told["servers"][0]["role"], told["notes"]) == (0, "primary", [UNSEEN])
    code, out, _ = cli("status", *where)
    assert (code, out.splitlines()[-1]) == (0, f"- {UNSEEN}")


def test_what_can_be_seen_is_judged(cli, service, tmp_path):
    replica = next(n for n in service.status().nodes if n.role == "replica")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{replica.host} redis.managed.internal\n")
    led_astray = service.env() | {"ARAGORA_REDIS_HOSTS_FILE": str(hosts)}
    for words, why in (
        ("health", "is a replica and refuses writes"),
        ("health --probe ready", "is a replica"),
        ("doctor", "endpoint-is-a-replica"),
        ("doctor --connect", "WRITE fails: it is a slave"),
        ("status", "replica"),
    ):
        code, out, _ = cli(*words.split(), **led_astray)
        assert (code, why in out) == (2, True), out
