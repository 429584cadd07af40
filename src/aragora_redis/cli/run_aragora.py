"""`aragora-redis run-aragora`. It needs no extra, so it parses for itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..aragora.run import run
from ..errors import AragoraRedisError

NAME = "run-aragora"
ANY_VERSION = "--any-version"
ONLY_CHECK = "--self-check"
HELP = f"""Usage: aragora-redis {NAME} [{ANY_VERSION}] [{ONLY_CHECK}] [ARGUMENTS OF THE SERVER]

Run the Aragora server with its shared state in the configured Redis.

At its start it says of each feature where that is, as far as it was seen. What follows our own
options goes to `python -m aragora.server`.

  {ANY_VERSION}  also use seams that were not checked with the installed Aragora
  {ONLY_CHECK}   say where each feature is, and end: 1 unless all that can be is on Redis
"""


def main(arguments: Sequence[str]) -> int:
    """Run it; the exit code."""
    ours, theirs = split(arguments)
    if theirs[:1] in (["--help"], ["-h"]):
        sys.stdout.write(HELP)
        return 0
    try:
        return run(theirs, say=_say, any_version=ANY_VERSION in ours, only_check=ONLY_CHECK in ours)
    except AragoraRedisError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our options, which come first, and the server's arguments."""
    ours = 0
    while ours < len(arguments) and arguments[ours] in (ANY_VERSION, ONLY_CHECK):
        ours += 1
    return list(arguments[:ours]), list(arguments[ours:])


def _say(line: str) -> None:
    sys.stdout.write(f"aragora-redis: {line}\n")
    sys.stdout.flush()
