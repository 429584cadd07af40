"""The command `aragora-redis`: parse, let the rooms below work, render."""

from __future__ import annotations

import sys

from ..extras import installing

_NEEDED = ("rich", "typer")


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        _main()
    except KeyboardInterrupt:  # while modules are imported; a command that runs has its own answer
        sys.exit(130)


def _main() -> None:
    if sys.argv[1:2] == ["run-aragora"]:  # Aragora is not asked to have what the others need
        from . import run_aragora  # noqa: PLC0415 - the others do not need it

        sys.exit(run_aragora.main(sys.argv[2:]))
    try:
        from .app import run  # noqa: PLC0415 - what it needs is an extra
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        sys.stderr.write(f"error: the command line needs {missing}; {installing('cli')}\n")
        sys.exit(1)
    run()
