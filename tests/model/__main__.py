"""Explore the model of the revocation feed within given bounds: all orders of all that may happen.

    python -m tests.model [--before 0] [--revocations 1] [--failovers 0] [--cuts 0] [--restarts 0]

One process. A million states take some two minutes and 200 MB; it says meanwhile how far it is.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time

from .explorer import Progress, explore
from .instance import Rules
from .world import Bounds, fault, in_step, sign, steps


def main() -> int:
    """Say how many states there are, or how a bad one is reached."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model", description=(__doc__ or "").splitlines()[0]
    )
    for name in Bounds._fields:
        default = Bounds._field_defaults[name]
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default} by default")
    parser.add_argument(
        "--before", type=int, default=0, help="revocations that all know as it begins; 0 by default"
    )
    parser.add_argument("--instances", type=int, default=2, help="2 by default")
    parser.add_argument(
        "--most",
        type=int,
        default=20_000_000,
        help="states after which it gives up; %(default)s by default",
    )
    parser.add_argument("--without", choices=Rules._fields, help="a rule that is left out")
    given = parser.parse_args()
    rules = Rules()._replace(**{given.without: False} if given.without else {})
    bounds = Bounds(*(getattr(given, name) for name in Bounds._fields))
    began = time.monotonic()

    def tell(far: Progress) -> None:
        print(
            f"{far.states} states, {far.steps} steps, {far.waiting} states wait, "
            f"{time.monotonic() - began:.0f} s, {_megabytes()} MB",
            file=sys.stderr,
            flush=True,
        )

    try:
        found = explore(
            in_step(given.before, given.instances, bounds),
            lambda world: steps(world, rules),
            lambda world: fault(world, rules),
            most=given.most,
            sign=sign,
            tell=tell,
        )
    except OverflowError as error:
        sys.exit(f"{error}: give narrower bounds, or a greater --most")
    took = f"{time.monotonic() - began:.0f} s, {_megabytes()} MB"
    print(f"{found.states} states, {found.steps} steps, {took}")
    if found.bad is None:
        print("all that is revoked is refused by all in the end, whatever befell")
        return 0
    print(f"{found.bad.why}:")
    for step in found.bad.steps:
        print("  ", *step)
    return 1


def _megabytes() -> int:
    """What this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    gc.disable()  # nothing here is a cycle, and to look for some takes longer with each state
    sys.exit(main())
