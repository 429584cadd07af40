"""Explore the model of the revocation feed within given bounds.

    python -m tests.model [--revocations 1] [--failovers 2] [--cuts 0] [--restarts 0]

Two failovers take some minutes and 3 GB.
"""

from __future__ import annotations

import argparse
import sys
import time

from .explorer import explore
from .instance import Rules
from .world import Bounds, World, fault, steps


def main() -> int:
    """Say how many states there are, or how a bad one is reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.model")
    for name in Bounds._fields:
        parser.add_argument(f"--{name}", type=int, default=Bounds._field_defaults[name])
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--most", type=int, default=3_000_000, help="states; more are an error")
    parser.add_argument("--without", choices=Rules._fields, help="a rule that is left out")
    given = parser.parse_args()
    rules = Rules()._replace(**{given.without: False} if given.without else {})
    bounds = Bounds(*(getattr(given, name) for name in Bounds._fields))
    began = time.monotonic()
    try:
        found = explore(
            World.of(given.instances, bounds),
            lambda world: steps(world, rules),
            lambda world: fault(world, rules),
            most=given.most,
        )
    except OverflowError as error:
        sys.exit(f"{error}: give narrower bounds, or a greater --most")
    print(f"{found.states} states, {found.steps} steps, {time.monotonic() - began:.0f} s")
    if found.bad is None:
        return 0
    print(f"{found.bad.why}:")
    for step in found.bad.steps:
        print("  ", *step)
    return 1


if __name__ == "__main__":
    sys.exit(main())
