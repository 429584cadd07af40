"""Commands with any arguments: done, or refused with an exit code and a reason, no traceback."""

from __future__ import annotations

import os
from functools import cache

import pytest
import typer
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import texts
from tests.integration import conftest
from tests.integration.past import give_past

from aragora_redis.cli.app import command_line

cli = conftest.cli
UNENDING = {
    ("up",), ("serve",), ("proxy",), ("bench",), ("drill",), ("label-keeper",), ("run-aragora",),
    ("lab", "start"), ("lab", "proxy"),
}  # fmt: skip
"""What may run until it is ended: its arguments are read, and no more."""
AT_DESK = ("tokens", "limits", "sessions", "circuits", "audit", "settings", "health")
PATHS = (
    "file",
    "directory",
    "missing",
    "missing/file",
    "secret",
    "/dev/null",
    "/proc/self/mem",
    "",
)
URLS = ("redis://127.0.0.1:1", "redis://127.0.0.1:" + "1" * 5000, "redis://", "x", "unix:///", "")
LIKELY = (
    "api", "42", "a", "1", "0.5", "open", "closed", "auto", "forced-open", "10 seconds", "3/second",
    "2030-01-01T00:00:00Z", "1e400", "nan", "0-16383", "redis-0", "primary", "127.0.0.1:1", "c.1.1",
)  # fmt: skip


@cache
def commands():
    """All there are, each with its parameters."""

    def walk(command, path):
        if not hasattr(command, "commands"):
            return {path: command}
        return {
            found: each
            for name, one in command.commands.items()
            for found, each in walk(one, (*path, name)).items()
        }

    return walk(typer.main.get_command(command_line()), ())


words = st.sampled_from(LIKELY) | texts


@st.composite
def asked(draw: st.DrawFn, among) -> tuple[str, ...]:
    """A command with options and arguments that it has, most with a value, all of any text."""
    path = draw(st.sampled_from(sorted(among)))
    given = []
    for parameter in commands()[path].params:
        if not (parameter.required or draw(st.integers(0, 3)) == 0):
            continue
        if parameter.param_type_name == "option":
            given.append(parameter.opts[0])
            if getattr(parameter, "is_flag", False):
                continue
        given.append(draw(_values(parameter.metavar)))
    given += draw(st.lists(st.sampled_from(["--json", "-h", "--", "--nope", "-"]), max_size=1))
    assume(all(map(_can_be_given, given)))
    return (*path, *given)


def _values(metavar):
    if metavar in {"PATH", "FILE", "DIR"}:
        return st.sampled_from(PATHS)
    return st.sampled_from(URLS) if metavar == "URL" else words


def _can_be_given(word: str) -> bool:
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


@pytest.fixture
def about(tmp_path):
    """Files that arguments may name."""
    (tmp_path / "file").write_bytes(b"\xff{}\n")
    (tmp_path / "secret").write_text("a-secret-of-some-length")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "lab.json").write_bytes(b'{"mode": "\xff"}')
    return tmp_path


def assert_told(said):
    code, out, err = said
    assert "Traceback" not in out + err
    assert code in {0, 1, 2, 3}, said
    assert code == 0 or (out + err).strip(), said


@effort(30)
@given(asked([path for path in commands() if path not in UNENDING]))
@pytest.mark.usefixtures("about")
def test_without_a_redis(cli, words):
    assert_told(cli(*words))


@effort(6)
@given(asked([path for path in commands() if path[0] in AT_DESK]))
@pytest.mark.usefixtures("about")
def test_with_a_redis(standalone_lab, cli, words):
    env = standalone_lab.env() | {"ARAGORA_KEY_PREFIX": "commanded"}
    give_past(standalone_lab, ARAGORA_KEY_PREFIX="commanded")
    assert_told(cli(*words, **env))


@effort(40)
@given(asked(UNENDING))
def test_arguments_of_what_does_not_end(words):
    command = commands()[words[:2] if words[:2] in commands() else words[:1]]
    given = list(words[2 if words[:2] in commands() else 1 :])
    try:
        command.make_context("x", given)
    except (typer._click.exceptions.ClickException, typer.Exit, typer.Abort) as end:
        assert getattr(end, "exit_code", 0) in {0, 1, 2}
