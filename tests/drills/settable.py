"""Servers whose clock can be set, each by itself, while their timers go on.

libfaketime stands before the clock of a server and reads from a file, at each look, by how much
that is to be off. Sentinels, which judge and hold no data, keep the clock of the machine, and so
does every server that another drill or test starts.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.lab import Lab
from aragora_redis.lab.node import Node
from aragora_redis.lab.server import VARIABLE, find_server

LIBRARY = Path(sys.prefix) / "faketime" / "libfaketimeMT.so.1"
"""Where scripts/faketime puts it."""
OFFSET = "clock-offset"
"""The file of a node that says by how many seconds its clock is off."""
# libfaketime asks for symbols as it begins, for which the allocator of Debian's server asks the
# time: neither comes to an end. So that of the C library goes before it.
LAUNCH = f"""\
#!/bin/sh
case ${{PWD##*/}} in
redis-[0-9]*)
    [ -f {OFFSET} ] || echo +0 >{OFFSET}
    FAKETIME_TIMESTAMP_FILE=$PWD/{OFFSET} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
    LD_PRELOAD=LIBRARY:libc.so.6
    export FAKETIME_TIMESTAMP_FILE FAKETIME_NO_CACHE FAKETIME_DONT_FAKE_MONOTONIC LD_PRELOAD
    ;;
esac
exec SERVER "$@"
"""
NOTICED = 0.5
"""Seconds within which a clock that was set shows what it was set to."""


def why_not() -> str | None:
    """Why the clocks of servers cannot be set here, or None."""
    if not sys.platform.startswith("linux"):
        return "libfaketime is taken from Linux alone"
    return None if LIBRARY.is_file() else f"there is no {LIBRARY}: run scripts/faketime"


@contextmanager
def settable(directory: Path) -> Iterator[None]:
    """Whatever server is started inside has a clock that can be set."""
    server = find_server().path
    launcher = directory / server.name  # it acts by the name that it is called
    text = LAUNCH.replace("LIBRARY", str(LIBRARY)).replace("SERVER", shlex.quote(str(server)))
    launcher.write_text(text, "utf-8")
    launcher.chmod(0o700)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(launcher)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def set_clock(lab: Lab, name: str, by: float) -> None:
    """Set the clock of a server, which runs, so many seconds off; 0 sets it right."""
    node = lab.node(name)
    file = node.directory / OFFSET
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{by:+.0f}\n", "ascii")
    fresh.replace(file)  # at once: it may be read in any moment
    for last in (False, False, True):
        try:
            off = _off(lab, node)
            break
        except redis.ConnectionError:
            # A server that closes who is idle takes who comes in that moment for idle for so long.
            if last:
                raise
    if abs(off - by) > NOTICED:
        raise RuntimeError(f"the clock of {name} is {off:+.1f} s off and not {by:+.0f} s")


def _off(lab: Lab, node: Node) -> float:
    with lab._site.access(node).connect(node) as client:
        seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6 - SYSTEM_CLOCK.wall()
