"""What callers feel of a failover under load, by the share of what one process can do.

    python -m benchmarks.failover_under_load [SHARE ...]     (percent; 20 50 80 95 by default)

Checks of a fail-open limit come when they come, a third of the time before the primary of a local
topology is killed. A check counts from when it was due. Down-after is 1 second, the deadline 50 ms.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from aragora_redis import SharedState
from aragora_redis.lab import Lab
from aragora_redis.rate_limit.gcra import Decision, Source

from .suite.drive import OUTSTANDING, Arrival, capacity, clock, open_loop, poisson
from .suite.sample import timed

SECONDS = 12.0
SUBJECTS = 1_000
POLICIES = """
[limits.api]
rate = "1000000/second"
burst = 1000000
on_outage = "fail-open"
"""


class Phase(NamedTuple):
    """Part of a run, and the checks that were due in it."""

    name: str
    checks: Sequence[Arrival]

    def row(self) -> str:
        """One line of the table."""
        took = [each.took for each in self.checks]
        told = timed(len(took), 1.0, 0.0, took)
        figures = (told.median, told.p99, told.p999, max(took, default=0.0))
        by = Counter(who(each) for each in self.checks)
        cells = [f"{figure * 1e3:.1f}" for figure in figures]
        cells += [str(by[source]) for source in (Source.REDIS, Source.LOCAL, "error")]
        return f"| {self.name} | {len(self.checks)} | " + " | ".join(cells) + " |"


def who(check: Arrival) -> str:
    """Who has decided."""
    return check.said.source if isinstance(check.said, Decision) else "error"


def phases(arrivals: Iterable[Arrival], killed: float) -> list[Phase]:
    """Before the primary was killed, until Redis decided again, and after."""
    ordered = sorted(arrivals)
    after = [each for each in ordered if each.due > killed]
    without = list(itertools.dropwhile(lambda each: who(each) == Source.REDIS, after))
    back = next((each.due for each in without if who(each) == Source.REDIS), float("inf"))
    return [
        Phase("before", [each for each in ordered if each.due <= killed]),
        Phase(f"without a primary ({back - killed:.2f} s)", [e for e in after if e.due < back]),
        Phase("after", [each for each in after if each.due >= back]),
    ]


async def under_load(state: SharedState, lab: Lab, share: int) -> tuple[float, list[Phase]]:
    """Kill the primary in the middle of a run; the rate, and what became of the checks."""

    async def check(number: int) -> Decision:
        return await state.rate_limits.check("api", f"user:{number % SUBJECTS}")

    rate = await capacity(check) * share / 100
    running = asyncio.create_task(open_loop(check, SECONDS, poisson(rate), OUTSTANDING))
    await asyncio.sleep(SECONDS / 3)
    killed = clock()
    await asyncio.to_thread(lab.kill, "primary")
    return rate, phases(await running, killed)


async def main(shares: Sequence[int]) -> None:
    """One topology for each share."""
    for share in shares:
        with tempfile.TemporaryDirectory() as directory:
            policies = Path(directory) / "policies.toml"
            policies.write_text(POLICIES)
            lab = Lab.create(Path(directory) / "lab", "sentinel", ports="free")
            lab.start(foreground=True)
            try:
                env = lab.env() | {"ARAGORA_POLICIES": str(policies)}
                async with SharedState.from_env(env | {"ARAGORA_REDIS_DEADLINE": "0.05"}) as state:
                    rate, found = await under_load(state, lab, share)
            finally:
                lab.stop()
        print(f"\n{share} % of what one process can do: {rate:.0f} checks a second\n")
        print("| | checks | p50 ms | p99 | p99.9 | longest | by Redis | here | errors |")
        print("|---|---|---|---|---|---|---|---|---|")
        for phase in found:
            print(phase.row(), flush=True)


if __name__ == "__main__":
    try:
        given = [int(text) for text in sys.argv[1:]] or [20, 50, 80, 95]
    except ValueError:
        sys.exit("shares are whole percents, such as 20 50 80 95")
    asyncio.run(main(given))
