"""Measure this project beside its peers, on one server, in one run.

    make bench [SECONDS=2] [ROUNDS=6] [LOOP=uvloop] [CASES="check-* session"] [OUT=build/bench]

Without cases it runs all but those that take minutes each, which `--list` marks. Writes
results.json, results.md, results.html and a picture for each case.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from pathlib import Path

from .case import Case
from .cases import CASES, chosen
from .environments import ROOT
from .results import Results
from .rounds import Rounds, tell
from .servers import serving
from .table import markdown


async def measure(cases: tuple[Case, ...], seconds: float, rounds: int, loop: str) -> Results:
    """Run the cases."""
    date = time.strftime("%d %B %Y, %H:%M").lstrip("0")
    with serving() as server:
        run = Rounds(server, seconds, rounds, loop)
        found = [await run.play(case) for case in cases]
        return Results(
            date=date,
            machine=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, "
            f"Python {platform.python_version()}, {loop}",
            server=server.name(),
            seconds=seconds,
            rounds=rounds,
            versions=run.versions,
            cases=found,
        )


def write(results: Results, out: Path) -> None:
    """Leave the results in a directory, without pictures where none can be drawn."""
    (out / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n")
    (out / "results.md").write_text(markdown(results))
    try:
        from .plots import draw, page  # noqa: PLC0415 - takes a second, and may not be installed
    except ImportError as error:
        tell(f"no pictures: {error}")
        return
    pictures = {}
    for result in results.cases:
        if result.answers:
            picture = pictures[result.case.name] = out / f"{result.case.name}.png"
            draw(result, picture)
    (out / "results.html").write_text(page(results, pictures))


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite", description=(__doc__ or "").splitlines()[0]
    )
    long = ", ".join(case.name for case in CASES if case.long)
    parser.add_argument(
        "cases", nargs="*", help=f"names or patterns; by default all but those of minutes: {long}"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of one contestant's round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--loop", choices=("asyncio", "uvloop"), default="asyncio", help="under all contestants"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--list", action="store_true", help="list the cases, and run none")
    given = parser.parse_args()
    if given.list:
        for case in CASES:
            by_name = " (minutes: runs only where it is named)" if case.long else ""
            print(f"{case.name:18} {case.title}{by_name}")
        return
    if given.seconds <= 0 or given.rounds < 1:
        parser.error("seconds and rounds are more than 0")
    try:
        cases = chosen(tuple(given.cases))
        given.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    write(asyncio.run(measure(cases, given.seconds, given.rounds, given.loop)), given.out)
    tell(f"the results are in {given.out}/results.md and results.html")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
