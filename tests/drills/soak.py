"""Drill after drill with random seeds and faults, for hours; and say what was broken, or grew.

A drill lasts for as many faults as told. Half of its clients die now and then, the others live
through all of them, and must hold as much at the end as when they were warm. A summary is written
after each drill; the histories of those in which a promise was broken are kept. What a drill was is
told by its seed: `--seed` of the soak decides those of its drills.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from typing import Any

from aragora_redis.errors import LabError

from . import report, resources, settable
from .drill import APART, OUTAGES, Plan, Result, run
from .figures import Figures, figures, merged
from .nemesis import EXTINGUISH, FAULTS, NEED_SETTABLE, offered
from .verdict import AT_ONCE, Expectations, Violation

SPARED = frozenset({0, 1})
"""Places of clients that live as long as their drill."""
TOLD = 40


def plans(
    seed: int, modes: Sequence[str], faults: int, *, at_once: float = AT_ONCE
) -> Iterator[Plan]:
    """The drills of a soak, without end: the same for the same arguments.

    Each mode comes with each outage policy in turn; then all of them once more with features that
    have a Redis of their own. What kills all clients comes last, since they are to live long.
    """
    chance = random.Random(seed)
    for apart in cycle(("", *APART)):
        for outage, mode in product(OUTAGES, modes):
            faults_here = set(offered(mode))
            last = sorted(EXTINGUISH & faults_here)
            others = sorted(faults_here - EXTINGUISH)
            chosen = chance.choices(others, k=faults - len(last)) + last
            own = chance.randrange(2**32)
            yield Plan(
                faults=chosen,
                seed=own,
                mode=mode,
                outage=outage,
                apart=apart,
                spared=SPARED,
                at_once=at_once,
            )


@dataclass(slots=True)
class Tally:
    """What a soak has come to so far."""

    done: list[Figures] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, result: Result) -> list[Violation]:
        """Take in a drill; what was broken in it."""
        violations = [*result.violations, *resources.grown(result.history)]
        self.broken += [f"{name}: {each}" for each in violations]
        self.done.append(figures(result.history, Expectations().limits[0]))
        self.resources.append({"drill": name} | resources.growth(result.history))
        return violations

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {"violations": self.broken, "resources": self.resources}
        return found | merged(self.done) if self.done else found


async def soak(drills: Iterator[Plan], until: float, directory: Path) -> int:
    """Run them until a moment (monotonic seconds); how many promises were broken."""
    tally = Tally()
    while time.monotonic() < until:
        plan = next(drills)
        here = directory / f"{plan.mode}-{plan.seed}"
        whose = f", {plan.apart} apart" if plan.apart else ""
        say(f"{plan.mode}, {plan.outage}{whose}, seed {plan.seed}: {' '.join(plan.faults)}")
        try:
            result = await run(plan, here)
        except (LabError, TimeoutError, ChildProcessError) as error:
            tally.broken.append(f"{here.name}: the drill did not come to its end: {error}")
            say(f"  {tally.broken[-1]}")
        else:
            violations = tally.add(here.name, result)
            for each in violations[:TOLD]:
                say(f"  {each}")
            if violations:
                report.write(result, here / "report")
            else:
                shutil.rmtree(here)
        (directory / "soak.json").write_text(json.dumps(tally.as_dict(), indent=1), "utf-8")
    done = f"{len(tally.broken)} promises broken in {len(tally.done)} drills"
    say(f"{done}; see {directory / 'soak.json'}")
    return len(tally.broken)


def say(line: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def main() -> int:
    """Soak for as long as the arguments say; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="a drill that has begun is ended")
    parser.add_argument("--seed", type=int, help="random, and told, by default")
    parser.add_argument("--modes", default=",".join(FAULTS), help="of the labs, in turn")
    parser.add_argument("--faults", type=int, default=40, help="of one drill")
    parser.add_argument(
        "--at-once",
        type=float,
        default=AT_ONCE,
        help="seconds for 99 of 100 checks without Redis; more where the machine does other work",
    )
    parser.add_argument("--directory", type=Path, default=Path("build/soak"))
    given = parser.parse_args()
    modes = given.modes.split(",")
    if unknown := set(modes) - set(FAULTS):
        parser.error(
            f"there is no mode {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}"
        )
    seed = secrets.randbits(32) if given.seed is None else given.seed
    given.directory.mkdir(parents=True, exist_ok=True)
    if why := settable.why_not():
        say(f"left out: {', '.join(sorted(NEED_SETTABLE))}: {why}")
    say(f"seed {seed}, for {given.hours:g} hours, into {given.directory}")
    until = time.monotonic() + given.hours * 3600
    drills = plans(seed, modes, given.faults, at_once=given.at_once)
    return min(asyncio.run(soak(drills, until, given.directory)), 1)


if __name__ == "__main__":
    sys.exit(main())
