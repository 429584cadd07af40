from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from aragora_redis.cli.recipes import curls, in_lab, own_command


@pytest.mark.parametrize(
    ("argv0", "on_path", "command"),
    [
        ("/v/bin/aragora-redis", "/v/bin/aragora-redis", "aragora-redis"),
        ("/v/bin/aragora-redis", "/usr/bin/aragora-redis", "/v/bin/aragora-redis"),
        ("/v/bin/aragora-redis", None, "/v/bin/aragora-redis"),
        # make has put it on the PATH, but not on that of the user's shell.
        (".venv/bin/aragora-redis", ".venv/bin/aragora-redis", ".venv/bin/aragora-redis"),
        ("/a tree/bin/aragora-redis", None, "'/a tree/bin/aragora-redis'"),
        ("/x/aragora_redis/__main__.py", None, "/usr/bin/python3 -m aragora_redis"),
    ],
)
def test_the_command_is_named_as_it_can_be_called(argv0, on_path, command):
    assert own_command(argv0, on_path, "/usr/bin/python3") == command


def test_the_directory_is_named_only_where_it_must_be():
    assert in_lab("x lab kill primary", Path(".lab")) == "x lab kill primary"
    assert in_lab("x", Path("/a b")) == "x --lab '/a b'"
    assert in_lab("x", Path("-lab")) == "x --lab ./-lab"


@pytest.mark.parametrize("name", [".lab", "my lab", "it's $HOME", "-lab"])
def test_the_lines_hold_in_a_shell_whatever_the_directory_is_called(tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    (directory / "gateway-token").write_text("service\n")
    (directory / "admin-token").write_text("operator\n")
    program = tmp_path / "curl"
    program.write_text('#!/bin/sh\nfor each in "$@"; do echo "<$each>"; done\n')
    program.chmod(0o755)
    said = [
        subprocess.check_output(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            text=True,
        )
        for line in curls("http://127.0.0.1:1", Path(name), "api")
    ]
    limit, revocation, question = said
    assert "<Authorization: Bearer service>" in limit
    assert '<{"subject":"ip:203.0.113.9"}>' in limit
    assert "<http://127.0.0.1:1/v1/limits/api/check>" in limit
    assert "<Authorization: Bearer operator>" in revocation
    assert '<{"jti":"demo","expires_at":1' in revocation
    assert '<{"jti":"demo"}>' in question


def test_without_limits_there_is_none_to_check(tmp_path):
    assert len(list(curls("http://h:1", tmp_path, None))) == 2
