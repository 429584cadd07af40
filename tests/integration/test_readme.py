"""The README's code runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from aragora_redis.circuit.policy import CircuitPolicy
from aragora_redis.policies import file, parse_policies
from aragora_redis.sessions.policy import SessionPolicy

README = Path(__file__).parents[2] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def test_the_python_runs():
    told = []
    for code in blocks("python"):
        command = [sys.executable, "-c", code]
        run = subprocess.run(
            command, env={}, capture_output=True, text=True, timeout=30, check=True
        )
        told.append(run.stdout)
    assert told == ["True 199 local\nTrue\n", ""]


def test_the_policies_are_policies():
    (toml,) = blocks("toml")
    read = parse_policies(toml, source="README")
    assert list(read.limits) == ["api", "org", "user"]
    assert read.default_circuit == CircuitPolicy()
    assert read.sessions == SessionPolicy(longest=SessionPolicy().absolute)


def test_the_policies_have_every_key():
    (toml,) = blocks("toml")
    said = tomllib.loads(toml)
    assert {key for limit in said["limits"].values() for key in limit} == {*file._LIMIT_KEYS}
    assert {*said["circuits"]["default"]} == {*file._CIRCUIT_KEYS}
    assert {*said["sessions"]} == {*file._SESSION_KEYS}
