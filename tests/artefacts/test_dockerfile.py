"""The Dockerfile can be built from a clean checkout, and what it makes can run nowhere as root."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.artefacts.files import BIN, ROOT, ran

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def instructions():
    """Each instruction of each stage, as (word, rest)."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"))
    lines = text.replace("\\\n", " ").splitlines()
    found = [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]
    starts = [number for number, (word, _) in enumerate(found) if word == "FROM"]
    return [found[start:end] for start, end in zip(starts, [*starts[1:], len(found)], strict=True)]


BUILD, FINAL = instructions()


def those(stage, word):
    return [rest for each, rest in stage if each == word]


def sources():
    """What is copied out of the checkout."""
    return [
        source.rstrip("/")
        for rest in those(BUILD, "COPY") + those(FINAL, "COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def in_context(path):
    """Whether .dockerignore lets a path of the checkout through: its last match decides."""
    let = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        rule = line.removeprefix("!").removeprefix("**/")
        parents = [path, *(str(each) for each in path_parents(path))]
        names = [each.rsplit("/", 1)[-1] for each in parents] if "**/" in line else parents
        if line and line[0] != "#" and any(fnmatch.fnmatchcase(name, rule) for name in names):
            let = line.startswith("!")
    return let


def path_parents(path):
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def test_hadolint_finds_nothing():
    assert ran(BIN / "hadolint", ROOT / "Dockerfile") == ("", 0)


def test_what_is_copied_is_in_git_and_in_the_context():
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for source in sources():
        files = [path for path in tracked if path == source or path.startswith(f"{source}/")]
        assert files, source
        assert all(in_context(path) for path in files)


def test_nothing_else_gets_into_the_context():
    for path in (
        *(
            ".git/config",
            ".lab/gateway-token",
            ".venv/bin/python",
            "deploy/compose/secrets/password",
        ),
        *("src/aragora_redis/__pycache__/x.pyc", "tests/conftest.py", ".env"),
    ):
        assert not in_context(path)


def test_the_project_can_be_installed_from_what_is_copied():
    (run,) = (rest for rest in those(BUILD, "RUN") if " install " in rest)
    words = shlex.split(run)
    copied = sources()
    assert words[words.index("--constraint") + 1] in copied
    (extras,) = re.findall(r"^\.\[(.*)\]$", words[-1])
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    for needed in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "src"):
        assert needed in copied


def test_both_stages_have_the_same_python_that_the_project_takes():
    images = [stage[0][1].split()[0] for stage in (BUILD, FINAL)]
    assert images[0] == images[1]
    (version,) = re.findall(r"^python:3\.(\d+)-slim$", images[0])
    assert int(version) >= int(PROJECT["requires-python"].removeprefix(">=3."))


def test_the_image_runs_the_gateway_as_nobody_in_particular():
    user = those(FINAL, "USER")[-1]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    after = [word for word, _ in FINAL[FINAL.index(("USER", user)) + 1 :]]
    assert set(after) <= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}
    (entrypoint,) = json.loads(those(FINAL, "ENTRYPOINT")[0])
    assert entrypoint in PROJECT["scripts"]
    (command,) = json.loads(those(FINAL, "CMD")[0])
    assert ran(BIN / entrypoint, command, "--help")[1] == 0


def test_the_image_holds_no_secret_and_nothing_that_builds():
    removed, made = those(FINAL, "RUN")
    assert {"uninstall", "pip", "setuptools", "wheel"} <= set(removed.split())
    assert made.startswith("install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/")
    for stage in (BUILD, FINAL):
        for rest in those(stage, "ENV") + those(stage, "ARG"):
            assert not re.search(r"PASSWORD|TOKEN|SECRET", rest)
        assert not those(stage, "ADD")
        assert not any("apt" in rest for rest in those(stage, "RUN"))
    (copied,) = those(FINAL, "COPY")
    assert copied.split()[0] == "--from=build"
    assert "--without-pip" in those(BUILD, "RUN")[0]


def test_it_says_what_it_is():
    labels = dict(
        re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', those(FINAL, "LABEL")[0])
    )
    assert labels["title"] == PROJECT["name"]
    assert labels["licenses"] == PROJECT["license"]
    assert labels["version"] == "$VERSION"
    assert labels["revision"] == "$REVISION"
    assert PROJECT["description"].startswith(labels["description"])


class Server(HTTPServer):
    """It answers like the gateway, or with what is put into `status`."""

    status = 200


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(made.status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with Server(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_its_health_is_that_of_the_gateway(server):
    check = those(FINAL, "HEALTHCHECK")[0].partition(" CMD ")[2]
    python, *arguments = json.loads(check)
    env = {"ARAGORA_PORT": str(server.server_port)}
    assert ran(BIN / python, *arguments, env=env) == ("", 0)
    server.status = 503
    assert ran(BIN / python, *arguments, env=env)[1] == 1
    server.status = 200
    assert ran(BIN / python, *arguments, env={"ARAGORA_PORT": "1"})[1] == 1
