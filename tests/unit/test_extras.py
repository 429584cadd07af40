"""What is there only with an extra, and what whoever lacks it is told."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from aragora_redis.cli import serve
from aragora_redis.errors import SettingsError
from aragora_redis.extras import demand, imported_with

ROOT = Path(__file__).parents[2]
ROOMS = ("django", "fastapi", "flask", "httpx", "litestar", "starlette")
WITHOUT = """
import sys
from importlib import import_module

rooms = sys.argv[1:]
for name in (*rooms, "jwt"):
    sys.modules[name] = None
for room in rooms:
    try:
        import_module(f"aragora_redis.web.{room}")
    except ImportError as error:
        print(error)
"""
OPTIONAL = {"uvloop"}
"""What the gateway uses where it is installed."""


@pytest.fixture(scope="module")
def told():
    """What each room says at its import where neither its framework nor PyJWT is installed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *ROOMS],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return dict(zip(ROOMS, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_without_its_framework_names_its_extra(told, room):
    assert told[room].startswith(f"aragora_redis.web.{room} needs ")
    assert told[room].endswith(f"; install its extra: pip install '/path/to/this/checkout[{room}]'")


def test_what_is_missing_of_this_package_is_no_extra():
    with (
        pytest.raises(ModuleNotFoundError, match=r"No module named 'aragora_redis\.nothing'"),
        imported_with("flask", "a room"),
    ):
        __import__("aragora_redis.nothing")


def test_all_that_is_missing_is_named():
    with pytest.raises(SettingsError, match="it needs no_one, no_two") as caught:
        demand("it", ["no_one", "sys", "no_two"], "jwt")
    assert "checkout[jwt]" in caught.value.remedy


def test_the_gateway_demands_all_that_its_extra_brings():
    provided = packages_distributions()
    demanded = {plain(name) for module in serve._NEEDED for name in provided[module]}
    assert demanded == brought("gateway") - OPTIONAL


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought(extra: str) -> set[str]:
    """The packages that an extra of ours names, and those of ours that it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = set[str]()
    for each in map(Requirement, project["optional-dependencies"][extra]):
        if each.name == project["name"]:
            found = found.union(*map(brought, each.extras))
        else:
            found.add(plain(each.name))
    return found
