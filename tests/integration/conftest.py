from __future__ import annotations

import os
import sys

import pytest
from tests.integration import pods
from tests.integration.command import quick_command

from aragora_redis.cli.app import run as run_command


@pytest.fixture
def policies(tmp_path):
    """Writes a policies file; the environment that names it."""

    def write(text):
        path = tmp_path / "policies.toml"
        path.write_text(text)
        return {"ARAGORA_POLICIES": str(path)}

    return write


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ARAGORA_") and name != "ARAGORA_REDIS_SERVER":
            monkeypatch.delenv(name)

    def call(*arguments, **env):
        for name, text in env.items():
            monkeypatch.setenv(name, text)
        with pytest.raises(SystemExit) as end:
            run_command(arguments)
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


@pytest.fixture(scope="session")
def quick_path(tmp_path_factory):
    """A PATH on which the command starts at once."""
    with quick_command(tmp_path_factory.mktemp("command") / "bin") as directory:
        yield os.pathsep.join((str(directory), str(pods.BIN), os.environ["PATH"]))


@pytest.fixture
def site(tmp_path):
    """Three pods that have not started yet; their logs are shown where the test fails."""
    site = pods.Site(tmp_path)
    yield site
    site.kill()
    for pod in site.pods:
        for part in ("sentinel", "redis"):
            sys.stdout.write(f"== {pod.name} {part}\n{pod.log(part)}")


@pytest.fixture
def running(site):
    """A site after its first start, with a key that every server has."""
    assert site.start_at_once() is site.pods[0]
    site.pods[0].write("kept", "yes")
    return site
