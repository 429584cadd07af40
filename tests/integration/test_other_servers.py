"""Redis 6.2 and Valkey 8 keep the same contract; `make servers` runs everything on each of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVERS = {
    "Redis 6.2": Path("redis-6.2/redis-server"),
    "Valkey 8": Path("valkey-8/valkey-server"),
}
WHERE = Path(sys.executable).parents[1] / "servers"
"""Where scripts/servers puts them."""
# All scripts on a server, at the bounds and between; then what differs most between servers: what
# Sentinels and nodes of a cluster say, and how they replace a primary.
TELLING = (
    "tests/contract",
    "tests/integration/test_invariants.py::test_i1_i2_i4_a_killed_primary_under_load",
    "tests/integration/test_invariants.py::test_i1_memory_that_is_full_takes_a_revocation_and_refuses_what_can_wait",
    "tests/integration/test_doctor.py::test_nothing_is_found_on_healthy_servers",
    "tests/integration/test_cluster.py::test_all_primitives_and_their_keys_are_spread",
)
# They are the longest, and go through the same scripts.
LEFT_OUT = "not model and not any_sequence"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SERVERS)
def test_the_most_telling_tests_pass_on(name):
    server = WHERE / SERVERS[name]
    if not server.exists():
        pytest.skip(f"no {name} here: scripts/servers gets it where a package has it")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", LEFT_OUT, *TELLING],
        cwd=ROOT,
        env={
            **{each: text for each, text in os.environ.items() if not each.startswith("PYTEST_")},
            "ARAGORA_REDIS_SERVER": str(server),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
