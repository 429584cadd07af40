"""Pages of the documentation that are generated: printed, written, or compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def write_or_check(
    page: str, committed: Path, *, program: str, arguments: Sequence[str] | None
) -> int:
    """Print the page, write it, or check that a file holds it (exit 1 where it does not).

    Args:
        page: what the code says.
        committed: where it belongs.
        program: the module that is run.
        arguments: `--write [PATH]`, `--check [PATH]` or nothing; the process's by default.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    action = parser.add_mutually_exclusive_group()
    for option, meaning in (("--check", "compare PATH with the page"), ("--write", "write PATH")):
        action.add_argument(
            option, nargs="?", const=committed, type=Path, metavar="PATH", help=meaning
        )
    options = parser.parse_args(arguments)
    try:
        return _act(page, program, options.check, options.write)
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 1


def _act(page: str, program: str, check: Path | None, write: Path | None) -> int:
    if write:
        write.write_text(page, "utf-8")
    elif check is None:
        sys.stdout.write(page)
    elif check.read_text("utf-8") != page:
        sys.stderr.write(
            f"{check} is not what the code says; run python -m {program} --write {check}\n"
        )
        return 1
    return 0
