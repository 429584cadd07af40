"""The command `aragora-redis` for tests that run it often, as a process that starts at once.

To read the code of the command takes a second of a processor. So one process reads it, and is
forked for each run, which gets the arguments, environment, directory and files of whoever asked for
it. That the command starts as it is installed, `test_cli_up` and `test_readme` see.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aragora_redis.cli.app import command_line, run
from aragora_redis.gateway import app, server
from aragora_redis.state import connections, embedded

_READ_AHEAD = (command_line(), app, server, connections, embedded)  # what runs would read
_PROXY = """\
#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({path!r})
    order = [sys.argv[1:], dict(os.environ), os.getcwd()]
    socket.send_fds(asked, [b"!"], [0, 1, 2])
    asked.sendall(json.dumps(order).encode())
    asked.shutdown(socket.SHUT_WR)
    said = asked.makefile()
    runs = int(said.readline())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(runs, number))
    sys.exit(int(said.readline()))
"""


@contextmanager
def quick_command(directory: Path) -> Iterator[Path]:
    """A directory for the front of PATH that holds the command."""
    directory.mkdir()
    path = directory / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(16)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.command", str(listening.fileno())],
            env={"PATH": os.environ["PATH"], "NO_COLOR": "1"},
            cwd=Path(__file__).parents[2],
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    proxy = directory / "aragora-redis"
    proxy.write_text(_PROXY.format(python=sys.executable, path=str(path)))
    proxy.chmod(0o755)
    try:
        yield directory
    finally:
        process.kill()
        process.wait()


def _serve(listening: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries them
    while True:
        asked, _ = listening.accept()
        with asked:
            if os.fork() == 0:
                listening.close()
                _answer(asked)


def _answer(asked: socket.socket) -> None:
    """Run what is asked for in a process of its own, and tell its id and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(asked, 1, 3)
    arguments, env, directory = json.load(asked.makefile())
    pid = os.fork()
    if pid == 0:
        asked.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(env)
        _run(arguments)
    for file in files:
        os.close(file)
    asked.sendall(b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    asked.sendall(b"%d\n" % (code if code >= 0 else 128 - code))
    os._exit(0)


def _run(arguments: list[str]) -> None:
    code = 1
    try:
        run(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - what ends any program
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
