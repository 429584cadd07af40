"""docs/POLICIES.md has every key of the policies file, with its default."""

import re
import tomllib
from pathlib import Path

from aragora_redis.circuit.policy import CircuitPolicy
from aragora_redis.policies import file, parse_policies
from aragora_redis.sessions.policy import SessionPolicy

PAGE = Path(__file__).parents[2] / "docs" / "POLICIES.md"
(SHOWN,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_what_it_shows_are_policies_with_the_defaults():
    read = parse_policies(SHOWN, source=PAGE.name)
    assert list(read.limits) == ["api", "org", "user"]
    assert read.default_circuit == CircuitPolicy()
    assert read.sessions == SessionPolicy(longest=SessionPolicy().absolute)


def test_it_shows_every_key():
    said = tomllib.loads(SHOWN)
    assert {key for limit in said["limits"].values() for key in limit} == {*file._LIMIT_KEYS}
    assert {*said["circuits"]["default"]} == {*file._CIRCUIT_KEYS}
    assert {*said["sessions"]} == {*file._SESSION_KEYS}
