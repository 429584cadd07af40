"""What `migrate` says where somebody ends it, or means two things; no server is needed."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from aragora_redis.cli import migrate
from aragora_redis.cli.app import run
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.commands import to_the_end
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.migrate.replication import Server
from aragora_redis.ops.migrate.steps import Copied
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env

URL = "redis://127.0.0.1:1"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("ARAGORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARAGORA_REDIS_URL", URL)
    monkeypatch.chdir(tmp_path)


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        run(("migrate", *arguments))
    out, err = capsys.readouterr()
    return end.value.code, out, err


@pytest.mark.usefixtures("in_the_foreground")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "sigterm", "hang-up"]
)
def test_who_ends_it_twice_is_told_how_to_go_on_once_it_may_end(number, capsys, monkeypatch):
    ended = []

    class Ended:
        def __init__(self, *_, path, **__):
            path.touch()

        async def run(self, **_):
            await to_the_end(self._exchange())

        async def plan(self, **_):
            await self.verify()

        async def verify(self, **_):
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)

        async def _exchange(self):
            for _ in range(2):
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.01)
            ended.append(True)

    monkeypatch.setattr(migrate, "Migration", Ended)
    code, out, _ = called(capsys, "run", "--from", URL, "--journal", "ours")
    assert (code, ended) == (2, [True])
    assert out == (
        "CRITICAL: interrupted: the same command goes on with what ours tells of, and rollback "
        "gives back what was changed\n"
    )
    for command in ("plan", "verify"):
        code, out, _ = called(capsys, command, "--from", URL)
        assert (code, out) == (2, "CRITICAL: interrupted: nothing was changed\n")
        code, out, _ = called(capsys, command, "--from", URL, "--json")
        assert (code, json.loads(out)["status"]) == (2, "CRITICAL")


def test_an_error_is_no_success_with_something_left(capsys):
    """No script that bears the latter goes on as if writes had moved."""
    Path("broken").write_text("{")
    for words, said in (
        (("run",), "no single Redis to move from is named"),
        (("run", "--from", URL, "--journal", "broken"), "is no journal"),
        (("rollback", "--from", URL), "no migration was begun"),
        (("commit", "--from", URL, "--journal", "missing/ours"), "missing/ours.lock: No such file"),
    ):
        code, out, err = called(capsys, *words)
        assert (code, out, said in err) == (2, "", True), err


async def test_a_journal_that_has_no_place_is_told_and_nothing_is_begun():
    target: Any = target_of(from_env({"ARAGORA_REDIS_URL": URL}))
    path = Path("missing", "journal")
    migration = Migration(
        Server(target.address, Access()), target, prefix="p", path=path, clock=SYSTEM_CLOCK
    )
    for begin in (migration.run, migration.rollback, migration.commit):
        with pytest.raises(FileNotFoundError):
            await begin()


@pytest.mark.parametrize("seen", [True, False], ids=["hung up", "forced colours"])
def test_a_bar_whose_terminal_is_gone_ends_nothing(seen, monkeypatch):
    class Terminal(io.StringIO):
        gone = False

        def isatty(self):
            return not (self.gone and seen)

        def write(self, text):
            if self.gone:
                raise OSError(errno.EIO, "Input/output error")
            return super().write(text)

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    told = migrate._Told()
    told._bars.live.auto_refresh = False
    with told:
        told.copied(Copied("keys copied", 1, 2))
        terminal.gone = True
        told.step("writes are held")
        told.copied(Copied("keys compared", 1, 2))
    assert "keys copied" in terminal.getvalue()
    assert sys.stderr is terminal
