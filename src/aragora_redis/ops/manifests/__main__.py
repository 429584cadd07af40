"""Keep `deploy/` what the defaults render: `python -m aragora_redis.ops.manifests --write`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .files import write
from .plan import Plan
from .render import Kind, render_tree

COMMITTED = Path("deploy")


def defaults() -> dict[str, str]:
    """Every file that the defaults render, by its path in `deploy/`."""
    plan = Plan()
    return {name: text for kind in Kind for name, text in render_tree(kind, plan).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or tell which are not what the templates say (exit 1)."""
    parser = argparse.ArgumentParser(prog="python -m aragora_redis.ops.manifests")
    parser.add_argument("--write", action="store_true", help="write instead of comparing")
    if parser.parse_args(arguments).write:
        for path in write(defaults(), COMMITTED, force=True):
            sys.stdout.write(f"{path}\n")
        return 0
    stale = [name for name, text in defaults().items() if _committed(name) != text]
    for name in stale:
        sys.stderr.write(f"{COMMITTED / name} is not what its template says\n")
    return bool(stale)


def _committed(name: str) -> str | None:
    path = COMMITTED / name
    return path.read_text("utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
