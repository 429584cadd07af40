"""The README's code runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from aragora_redis.policies import parse_policies

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
    assert list(parse_policies(toml, source="README").limits) == ["api"]
