"""Run a drill: real servers, a fleet under load, faults on a schedule; and say what was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from . import report, settable
from .drill import APART, OUTAGES, Plan, run
from .figures import figures
from .nemesis import FAULTS, offered
from .verdict import Expectations

TOLD = 40


def main() -> int:
    """Run what the arguments ask for; 1 where a promise was broken."""
    told = "; ".join(f"{mode}: {', '.join(faults)}" for mode, faults in FAULTS.items())
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("faults", nargs="*", help=f"in order; all of the mode else: {told}")
    parser.add_argument("--mode", default="sentinel", choices=tuple(FAULTS), help="of the lab")
    parser.add_argument(
        "--outage", default=OUTAGES[0], choices=OUTAGES, help="what limits and tokens do in one"
    )
    parser.add_argument(
        "--apart", default="", choices=tuple(APART), help="have a Redis that no fault touches"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    parser.add_argument("--rounds", type=int, default=1, help="how often the faults come")
    parser.add_argument("--subject", default="ours", choices=("ours", "redis-py", "coredis"))
    parser.add_argument("--report", type=Path, help="a directory for report.html and timeline.png")
    parser.add_argument("--directory", type=Path, help="where histories are kept; nowhere else")
    given = parser.parse_args()
    faults = FAULTS[given.mode]
    if left := sorted(set(faults) - set(offered(given.mode))):
        why = settable.why_not()
        if named := set(given.faults).intersection(left):
            parser.error(f"{', '.join(sorted(named))} cannot be here: {why}")
        sys.stderr.write(f"left out: {', '.join(left)}: {why}\n")
    if unknown := set(given.faults) - set(faults):
        parser.error(f"{given.mode} has no fault {', '.join(sorted(unknown))}; see --help")
    if given.subject != "ours" and given.mode != "sentinel":
        parser.error(f"{given.subject} is exercised with Sentinels alone")
    if given.subject != "ours" and (given.outage != OUTAGES[0] or given.apart):
        parser.error(f"{given.subject} knows no outage policy, and no features")
    plan = Plan(
        faults=(given.faults or offered(given.mode)) * given.rounds,
        seed=given.seed,
        mode=given.mode,
        outage=given.outage,
        apart=given.apart,
        subject=given.subject,
    )
    with tempfile.TemporaryDirectory(prefix="drill-") as temporary:
        result = asyncio.run(run(plan, given.directory or Path(temporary)))
    if given.report is not None:
        report.write(result, given.report)
    found = figures(result.history, Expectations().limits[0])
    lines = [json.dumps(found.as_dict(), indent=1), *map(str, result.violations[:TOLD])]
    lines.append(f"{len(result.violations)} promises broken in {found.calls} calls")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
