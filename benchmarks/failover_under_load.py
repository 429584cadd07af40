"""What callers feel of a failover under load, by the share of what one process can do.

    make failover [SHARES="20 50 80 95"] [OUT=build/failover]

Checks of a fail-open limit come when they come, a third of the time before the primary of a local
topology is killed. A check counts from when it was due. Down-after is 1 second, the deadline 50 ms.
Prints a table for each share, and writes results.json, results.md and results.png.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aragora_redis import SharedState
from aragora_redis.lab import Lab
from aragora_redis.rate_limit.gcra import Source

from .suite.drive import OUTSTANDING, Arrival, capacity, clock, open_loop, poisson
from .suite.sample import timed

SECONDS = 12.0
SHARES = (20, 50, 80, 95)
SUBJECTS = 1_000
MOMENT = 0.1
"""Seconds that are one point of a picture."""
OUT = Path(__file__).parents[1] / "build" / "failover"
POLICIES = """
[limits.api]
rate = "1000000/second"
burst = 1000000
on_outage = "fail-open"
"""
HEAD = (
    "| | checks | p50 ms | p99 | p99.9 | longest | by Redis | here | errors |",
    "|---|---|---|---|---|---|---|---|---|",
)


class Phase(NamedTuple):
    """Part of a run, and the checks that were due in it."""

    name: str
    checks: Sequence[Arrival]

    def as_json(self) -> dict[str, Any]:
        """What they took in milliseconds, and who has decided them."""
        by = Counter(who(each) for each in self.checks)
        return {
            "name": self.name,
            "checks": len(self.checks),
            **milliseconds(self.checks),
            "by Redis": by[Source.REDIS],
            "here": by[Source.LOCAL],
            "errors": by["error"],
        }

    def row(self) -> str:
        """One line of the table."""
        cells = (f"{x:.1f}" if isinstance(x, float) else f"{x}" for x in self.as_json().values())
        return f"| {' | '.join(cells)} |"


class Felt(NamedTuple):
    """What became of one run.

    Attributes:
        share: percent of what one process can do.
        rate: checks a second.
        killed: when the primary was, by `clock`.
        arrivals: all checks.
    """

    share: int
    rate: float
    killed: float
    arrivals: Sequence[Arrival]

    def as_json(self) -> dict[str, Any]:
        """The phases, and each moment of the run: plain data."""
        return {
            "share": self.share,
            "rate": self.rate,
            "phases": [each.as_json() for each in phases(self.arrivals, self.killed)],
            "moments": list(moments(self.arrivals, self.killed)),
        }

    def markdown(self) -> str:
        """A table of the phases."""
        title = f"{self.share} % of what one process can do: {self.rate:.0f} checks a second"
        rows = (each.row() for each in phases(self.arrivals, self.killed))
        return "\n".join((title, "", *HEAD, *rows, ""))


def who(check: Arrival) -> str:
    """Who has decided."""
    return check.said if isinstance(check.said, Source) else "error"


def milliseconds(checks: Iterable[Arrival]) -> dict[str, float]:
    """What some checks took."""
    took = [each.took for each in checks]
    told = timed(len(took), 1.0, 0.0, took)
    longest = max(took, default=0.0)
    named = {"p50": told.median, "p99": told.p99, "p99.9": told.p999, "longest": longest}
    return {name: seconds * 1e3 for name, seconds in named.items()}


def phases(arrivals: Iterable[Arrival], killed: float) -> list[Phase]:
    """Before the primary was killed, until Redis decided again, and after."""
    ordered = sorted(arrivals, key=lambda each: each.due)
    after = [each for each in ordered if each.due > killed]
    without = list(itertools.dropwhile(lambda each: who(each) == Source.REDIS, after))
    back = next((each.due for each in without if who(each) == Source.REDIS), float("inf"))
    return [
        Phase("before", [each for each in ordered if each.due <= killed]),
        Phase(f"without a primary ({back - killed:.2f} s)", [e for e in after if e.due < back]),
        Phase("after", [each for each in after if each.due >= back]),
    ]


def moments(arrivals: Iterable[Arrival], killed: float) -> Iterator[dict[str, float]]:
    """What checks took by when they were due, in seconds since the primary was killed."""
    in_each: dict[int, list[Arrival]] = {}
    for each in arrivals:
        in_each.setdefault(int((each.due - killed) // MOMENT), []).append(each)
    for number, checks in sorted(in_each.items()):
        yield {"at": round(number * MOMENT, 3), "checks": len(checks), **milliseconds(checks)}


async def under_load(state: SharedState, lab: Lab, share: int, seconds: float) -> Felt:
    """Kill the primary after a third of a run, and tell what became of the checks."""

    async def check(number: int) -> Source:
        return (await state.rate_limits.check("api", f"user:{number % SUBJECTS}")).source

    rate = await capacity(check) * share / 100
    running = asyncio.create_task(open_loop(check, seconds, poisson(rate), OUTSTANDING))
    await asyncio.sleep(seconds / 3)
    killed = clock()
    await asyncio.to_thread(lab.kill, "primary")
    return Felt(share, rate, killed, await running)


async def felt(share: int, seconds: float) -> Felt:
    """The same with a topology of its own."""
    with tempfile.TemporaryDirectory() as directory:
        policies = Path(directory) / "policies.toml"
        policies.write_text(POLICIES)
        lab = Lab.create(Path(directory) / "lab", "sentinel", ports="free")
        lab.start(foreground=True)
        try:
            env = lab.env() | {"ARAGORA_POLICIES": str(policies)}
            async with SharedState.from_env(env | {"ARAGORA_REDIS_DEADLINE": "0.05"}) as state:
                return await under_load(state, lab, share, seconds)
        finally:
            lab.stop()


def write(results: dict[str, Any], tables: Sequence[str], out: Path) -> None:
    """Leave the results in a directory, without a picture where none can be drawn."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    where = f"{results['date']}: {results['machine']}."
    (out / "results.md").write_text("\n".join(("# A failover under load", "", where, "", *tables)))
    try:
        from .failover_picture import draw  # noqa: PLC0415 - takes a second, may not be installed
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    draw(results["shares"], out / "results.png")


def main() -> None:
    """One topology for each share."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.failover_under_load",
        description=(__doc__ or "").splitlines()[0],
    )
    usual = " ".join(map(str, SHARES))
    parser.add_argument(
        "shares", nargs="*", type=int, metavar="SHARE", help=f"percent; {usual} by default"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each; %(default)g so")
    parser.add_argument("--out", type=Path, default=OUT, help="a directory; %(default)s so")
    given = parser.parse_args()
    if given.seconds <= 0 or any(share < 1 for share in given.shares):
        parser.error("seconds and shares are more than 0")
    found: list[Felt] = []
    for share in given.shares or SHARES:
        found.append(asyncio.run(felt(share, given.seconds)))
        print(found[-1].markdown(), flush=True)
    results = {
        "date": time.strftime("%d %B %Y, %H:%M").lstrip("0"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}",
        "seconds": given.seconds,
        "shares": [each.as_json() for each in found],
    }
    write(results, [each.markdown() for each in found], given.out)
    print(f"the results are in {given.out}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
