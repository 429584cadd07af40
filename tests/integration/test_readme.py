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


def told(code):
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env={}, capture_output=True, text=True, timeout=30, check=True)
    return run.stdout


def test_the_python_runs():
    assert [told(code) for code in blocks("python")] == ["True 199 local\nTrue\n", ""]


def test_the_service_answers_and_tells_of_its_limit():
    _, service = blocks("python")
    asked = """
from fastapi.testclient import TestClient
with TestClient(app) as client:
    answer = client.get("/")
print(answer.status_code, answer.json(), answer.headers["RateLimit-Policy"])
"""
    assert told(service + asked).startswith('200 hello "api";q=200')


def test_the_policies_are_policies():
    (toml,) = blocks("toml")
    assert list(parse_policies(toml, source="README").limits) == ["api"]
