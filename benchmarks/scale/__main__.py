"""Measure how much this bears.

    make scale [SUBJECTS="revocations instances"] [FULL=1] [OUT=build/scale]

Writes scale.json, scale.md and a picture of each curve. Without FULL each subject is a hundredth of
its size, which takes minutes instead of an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..suite.environments import ROOT
from . import fleets, revocations, sentinels, sessions, subjects
from .findings import Findings

MEASURES: dict[str, tuple[Callable[[], Awaitable[Findings]], Callable[[], Awaitable[Findings]]]] = {
    "subjects": (
        lambda: subjects.measure((1_000, 10_000)),
        lambda: subjects.measure((10_000, 50_000, 100_000, 300_000, 1_000_000)),
    ),
    "revocations": (
        lambda: revocations.measure({10_000: (1, 3), 50_000: (1,)}),
        lambda: revocations.measure({100_000: (1,), 1_000_000: (1, 10), 10_000_000: (1, 10)}),
    ),
    "sessions": (
        lambda: sessions.measure((1_000, 10_000)),
        lambda: sessions.measure((100_000, 1_000_000)),
    ),
    "instances": (
        lambda: fleets.measure((10, 50)),
        lambda: fleets.measure((100, 250, 500, 1_000, 3_000)),
    ),
    "sentinels": (
        lambda: sentinels.measure((10,)),
        lambda: sentinels.measure((100, 1_000)),
    ),
}
"""Of each subject the short form and the full one."""


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("subjects", nargs="*", choices=MEASURES, help="all by default")
    parser.add_argument("--full", action="store_true", help="at the sizes that are promised")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "scale")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.subjects or MEASURES:
        print(f"scale: {name}", file=sys.stderr, flush=True)
        _write(asyncio.run(_found(MEASURES[name][given.full])), given.out / name)


async def _found(measure: Callable[[], Awaitable[Findings]]) -> Findings:
    return await measure()


def _write(found: Findings, path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    head = (
        f"{time.strftime('%d %B %Y, %H:%M').lstrip('0')}: {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}\n"
    )
    (path / "scale.json").write_text(
        json.dumps({"where": head, **found.as_json()}, indent=1) + "\n"
    )
    (path / "scale.md").write_text(f"{head}\n{found.markdown()}")
    print(found.markdown(), flush=True)
    try:
        from .pictures import draw  # noqa: PLC0415 - takes a second, and may not be installed
    except ImportError as error:
        print(f"scale: no pictures: {error}", file=sys.stderr)
        return
    for curve in found.curves:
        draw(curve, path)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
