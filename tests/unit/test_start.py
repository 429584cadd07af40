"""What a process that starts has to import: told by names, which no busy machine changes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import aragora_redis

SAY = """
import json, sys
names = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(names - sys.stdlib_module_names - before)))
"""
BEFORE = "import sys; before = {name.partition('.')[0] for name in sys.modules}\n"


# A state that is held in memory never needs a way to Redis.
EMBEDDED = """
from aragora_redis import SharedState
from aragora_redis.settings import Settings
SharedState(Settings())
"""
HELP = """
import sys
from aragora_redis.cli import main
sys.argv[1:] = ["--help"]
try:
    main()
except SystemExit:
    pass
"""
OF_MSGSPEC = {"msgspec", "typing_extensions"}


def brought_by(program):
    """The packages beyond Python's own that a process has after it."""
    result = subprocess.run(
        [sys.executable, "-c", BEFORE + program + SAY],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("program", "allowed"),
    [
        ("import aragora_redis", set()),
        ("import aragora_redis; aragora_redis.errors.LimitExceededError", set()),
        ("from aragora_redis import SharedState", OF_MSGSPEC),
        (EMBEDDED, OF_MSGSPEC),
    ],
    ids=["package", "errors", "state", "embedded"],
)
def test_who_does_not_connect_brings_no_client_and_no_validator(program, allowed):
    assert brought_by(program) - allowed == {"aragora_redis"}


def test_the_command_that_explains_brings_nothing_that_others_need():
    others = {"redis", "hiredis", "pydantic", "opentelemetry", "jinja2", "prometheus_client"}
    assert not brought_by(HELP) & others


def test_the_package_has_what_it_names():
    assert set(aragora_redis.__all__) <= set(dir(aragora_redis))
    for name in aragora_redis.__all__:
        assert getattr(aragora_redis, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = aragora_redis.Nonsense  # type: ignore[attr-defined]
