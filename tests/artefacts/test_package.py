"""What is built to be installed: complete, and working by itself. `make package` installs it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    made = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(made)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    return made


def test_the_wheel_has_every_file_and_works_by_itself(dist, tmp_path):
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path)  # noqa: S202 - built a moment ago
    files = (path for path in SOURCES.rglob("*") if path.is_file())
    assert packed == {
        path.relative_to(SOURCES).as_posix() for path in files if "__pycache__" not in path.parts
    }
    text = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from aragora_redis import testing
from aragora_redis.scripts.catalog import all_scripts
assert testing.__file__.startswith({str(tmp_path)!r})
assert all_scripts()
"""
    subprocess.run([sys.executable, "-I", "-c", text], check=True, timeout=60)


def test_the_sdist_has_what_a_packager_wants(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert packed >= {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "constraints.txt"}
    assert packed >= {"src/aragora_redis/py.typed", "tests/conftest.py", "docs/ENVIRONMENT.md"}
