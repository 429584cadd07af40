"""What the library brings along, under which licences, and that all of it is pinned and audited."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution, distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CORE = {"hiredis", "msgspec", "pydantic", "redis"}
WITH_CORE = {
    *CORE,
    "annotated-types",
    "pydantic-core",
    "typing-extensions",
    "typing-inspection",
}
"""The core with what it needs in turn."""
FREE = {"MIT", "BSD-3-Clause", "PSF-2.0"}


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def needs(name: str) -> set[str]:
    wanted = map(Requirement, distribution(name).requires or ())
    plain = {"extra": ""}
    return {name_of(r.name) for r in wanted if r.marker is None or r.marker.evaluate(plain)}


def licence_of(found: Distribution) -> str:
    said = found.metadata
    fields = (said[name] for name in ("License-Expression", "License") if name in said)
    return next(fields, "unknown")


def test_the_core_needs_four_packages_and_what_those_need():
    assert needs("aragora-redis") == CORE
    every, new = set[str](), CORE
    while new:
        every |= new
        new = {each for name in new for each in needs(name)} - every
    assert every - {"async-timeout"} == WITH_CORE


@pytest.mark.parametrize("name", sorted(WITH_CORE))
def test_its_licences_allow_any_use(name):
    assert licence_of(distribution(name)) in FREE


def test_every_package_that_is_declared_is_pinned():
    """So that an audit of the pins is one of all that anybody installs with them."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {name_of(line.partition("==")[0]) for line in lines if not line.startswith("#")}
    assert all("==" in line for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [
        *project["project"]["dependencies"],
        *chain.from_iterable(project["project"]["optional-dependencies"].values()),
        *chain.from_iterable(project["dependency-groups"].values()),
    ]
    names = {name_of(Requirement(each).name) for each in declared} - {"aragora-redis"}
    assert names <= pinned
    installed = {name_of(each.metadata["Name"]) for each in distributions(path=[str(SITE)])}
    assert installed - {"aragora-redis", "pip", "setuptools", "wheel"} <= pinned


SITE = Path(pytest.__file__).parents[1]
STUB = """#!/bin/sh
case $* in
*"pip check") exit "$CHECK" ;;
*"pip freeze"*) printf '%s\\n' "$FREEZE" ;;
*known.txt) printf '%s\\n' "$KNOWN" ;;
*constraints.txt) printf '%s\\n' "$FOUND"; exit "$CODE" ;;
esac
"""
GOOD = {"CHECK": "0", "FREEZE": "redis==8.0", "KNOWN": "CVE-2019-10906", "FOUND": "", "CODE": "0"}


@pytest.mark.parametrize(
    ("seen", "code", "told"),
    [
        ({}, 0, ""),
        ({"CHECK": "1"}, 1, "do not fit"),
        ({"FREEZE": "redis==8.1"}, 1, "redis==8.1"),
        ({"KNOWN": "No known vulnerabilities found"}, 3, "NOT AUDITED"),
        ({"CODE": "1", "FOUND": "redis 8.0 CVE-1"}, 1, ""),
    ],
    ids=["nothing", "misfit", "not pinned", "no service", "something"],
)
def test_an_audit_is_only_one_where_advisories_can_be_had(tmp_path, seen, code, told):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "constraints.txt").write_text("redis==8.0\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (tmp_path / ".venv" / "audit" / "pip_audit").mkdir(parents=True)
    python.write_text(STUB)
    python.chmod(0o755)
    result = subprocess.run(
        [tmp_path / "scripts" / "audit"],
        env={"PATH": "/usr/bin:/bin"} | GOOD | seen,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.returncode == code, result.stderr
    assert told in result.stderr


@pytest.mark.parametrize(
    "module",
    ["problems", "headers", "client_address", "bearer", "httpx", "cookie", "paths", "django"],
)
def test_who_has_no_starlette_need_not_install_it(module):
    """What a Flask or Django service, or a client, shares with others knows no framework."""
    text = f"import sys; sys.modules['starlette'] = None; import aragora_redis.web.{module}"
    subprocess.run([sys.executable, "-c", text], check=True, timeout=30)
