"""Who ends a command in the middle, and again, leaves nothing half done."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pty
import signal
import subprocess
import sys

import pytest

from aragora_redis.cli import failover
from aragora_redis.cli.app import run
from aragora_redis.cli.ending import unless_ended
from aragora_redis.errors import Ran
from aragora_redis.ops.failover import Phase, SwitchoverReport
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.report import Status

SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "sigterm", "hang-up"]
)


GONE = pytest.mark.parametrize("why", [errno.EIO, errno.EPIPE], ids=["terminal", "pipe"])


class Gone(io.StringIO):
    """A terminal that has hung up, or a pipe whose reader has ended."""

    def __init__(self, why):
        super().__init__()
        self._why = why

    def write(self, _text):
        raise OSError(self._why, os.strerror(self._why))


@pytest.mark.usefixtures("in_the_foreground")
@GONE
@SIGNALS
def test_a_hand_over_that_was_begun_is_brought_to_its_end(number, why, capfd, monkeypatch):
    monkeypatch.setenv("ARAGORA_REDIS_URL", "redis://127.0.0.1:1")
    done = []

    async def hand_over(on_phase):
        for phase in (Phase.PROMOTE, Phase.DEMOTE, Phase.RESUME):
            monkeypatch.setattr(sys, "stderr", Gone(why))
            on_phase(phase)
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
            done.append(phase)

    async def switch_over(*_, on_phase, **__):
        await hand_over(on_phase)
        return SwitchoverReport(Status.OK, "OK: redis-1 is primary", replaced=Ran.YES)

    monkeypatch.setattr(failover, "switch_over", switch_over)
    with pytest.raises(SystemExit) as end:
        run(("failover",))
    out, _ = capfd.readouterr()
    assert (end.value.code, done) == (1, [Phase.PROMOTE, Phase.DEMOTE, Phase.RESUME])
    assert out == "WARNING: done although interrupted: redis-1 is primary\n"


@pytest.mark.usefixtures("in_the_foreground")
@pytest.mark.parametrize(
    ("phase", "noted", "said", "code"),
    [
        (Phase.DRAIN, False, "WARNING: interrupted, and undone: nothing has changed\n", 1),
        (Phase.PROMOTE, True, "CRITICAL: redis-0 goes on as primary\n", 2),
    ],
    ids=["before", "past"],
)
def test_who_interrupts_a_hand_over_is_told_what_comes_of_it(
    phase, noted, said, code, capfd, monkeypatch
):
    monkeypatch.setenv("ARAGORA_REDIS_URL", "redis://127.0.0.1:1")

    async def switch_over(*_, on_phase, **__):
        on_phase(phase)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.01)
        return SwitchoverReport(Status.CRITICAL, "CRITICAL: redis-0 goes on as primary")

    monkeypatch.setattr(failover, "switch_over", switch_over)
    with pytest.raises(SystemExit) as end:
        run(("failover",))
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (code, said)
    assert ("past the point of return, and is brought to its end" in err) is noted


def test_what_nohup_has_started_outlives_its_terminal():
    async def work():
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert asyncio.run(unless_ended(work())) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


@GONE
def test_what_cannot_be_told_is_no_success_with_something_left(why, monkeypatch, tmp_path):
    monkeypatch.setenv("ARAGORA_REDIS_URL", "redis://127.0.0.1:1")

    async def interrupted(*_, **__):
        raise asyncio.CancelledError

    monkeypatch.setattr(Migration, "rollback", interrupted)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Gone(why))
    journal = str(tmp_path / "journal")
    with pytest.raises(SystemExit) as end:
        run(("migrate", "rollback", "--from", "redis://127.0.0.1:2", "--journal", journal))
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (os.pipe, b""),
        (pty.openpty, b"error: what was found or done cannot be told: Input/output error\n"),
    ],
    ids=["pipe", "terminal"],
)
def test_a_reader_who_has_gone_gets_an_exit_code_and_no_traceback(made, said):
    reader, writer = made()
    os.close(reader)
    try:
        told = subprocess.run(
            [sys.executable, "-c", "from aragora_redis.cli.app import run; run(['version'])"],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (told.returncode, told.stderr) == (1, said)


@pytest.mark.parametrize("module", ["app", "health"], ids=["all", "one"])
def test_who_is_interrupted_while_a_command_is_imported_sees_no_traceback(module):
    program = f"""
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "aragora_redis.cli.{module}":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
sys.argv = ["aragora-redis", "health"]
from aragora_redis.cli import main
main()
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (130, b"", b"")
