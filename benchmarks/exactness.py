"""What a limit admits, divided by what it should: real processes on a real Redis.

    python benchmarks/exactness.py [SECONDS] [PROCESSES ...]

Each process asks as often as it may be given something. A rate above what can be asked is taken in
larger costs. All of the span counts, and each quarter of it; the burst is spent before it begins.
Histories of a fake clock, for years, are in `tests/unit/test_rate_limit_exact.py`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NamedTuple

from aragora_redis import SharedState
from aragora_redis.errors import LimitUnavailableError
from aragora_redis.lab import Lab

QUARTERS = 4
START, START_EACH = 20.0, 3.0
"""Seconds within which the processes have started, and spent the burst."""

History = list[tuple[float, float]]
"""When something was given, in Unix seconds, and how many tokens."""


class Asked(NamedTuple):
    """A limit, and the tokens that each call takes."""

    rate: str
    per_second: float
    burst: int
    cost: int


LIMITS = (
    Asked("3 per 2 seconds", 1.5, 3, 1),
    Asked("9 per 10 seconds", 0.9, 9, 1),
    Asked("1000 per minute", 1000 / 60, 5, 1),
    Asked("700000 per second", 700_000, 70_000, 7_000),
)


def policies() -> str:
    """The policies file."""
    return "\n".join(
        f'[limits.l{number}]\nrate = "{asked.rate}"\nburst = {asked.burst}'
        for number, asked in enumerate(LIMITS)
    )


async def ask(state: SharedState, number: int, begin: float, end: float) -> History:
    """When one process was given something, and how much."""
    asked, given = LIMITS[number], History()
    while (now := time.time()) < end:
        try:
            decision = await state.rate_limits.check(f"l{number}", "everybody", asked.cost)
        except LimitUnavailableError:
            continue  # a late answer: what it gave is not counted, and nothing is given here
        if decision.allowed and now >= begin:
            given.append((time.time(), float(asked.cost)))
        elif not decision.allowed:
            await asyncio.sleep(min(decision.retry_after, 0.5))
    return given


async def run(env: dict[str, str], seconds: float, begin: float) -> list[History]:
    """One process's histories, a limit each."""
    async with SharedState.from_env(env) as state:
        end = begin + seconds
        return await asyncio.gather(*(ask(state, n, begin, end) for n in range(len(LIMITS))))


def process(env: dict[str, str], seconds: float, begin: float, out: Queue[Any]) -> None:
    """One process; `out` is the queue of its histories."""
    out.put(asyncio.run(run(env, seconds, begin)))


def tell(count: int, histories: Sequence[list[History]], begin: float, seconds: float) -> None:
    """Print one line a limit."""
    for number, asked in enumerate(LIMITS):
        given = sorted(each for history in histories for each in history[number])
        parts = []
        for quarter in range(QUARTERS):
            first, last = (begin + seconds * at / QUARTERS for at in (quarter, quarter + 1))
            parts.append(sum(cost for at, cost in given if first <= at < last))
        # From one token to another: a span of the clock cuts some of them in two.
        whole = sum(cost for _, cost in given[1:]) / (given[-1][0] - given[0][0])
        shown = " ".join(f"{part * QUARTERS / seconds / asked.per_second:6.3f}" for part in parts)
        print(f"{count:3} {asked.rate:18} {whole / asked.per_second:6.3f}   {shown}", flush=True)


def main(seconds: float, counts: Sequence[int]) -> None:
    """Run all, on a lab of its own."""
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab.create(Path(directory) / "lab", "standalone", ports="free")
        file = Path(directory) / "policies.toml"
        file.write_text(policies())
        lab.start()
        try:
            env = lab.env() | {"ARAGORA_POLICIES": str(file), "ARAGORA_REDIS_DEADLINE": "2"}
            print("processes, rate, admitted / ideal: whole, quarters")
            for count in counts:
                one_run(env | {"ARAGORA_KEY_PREFIX": f"x{count}"}, seconds, count)
        finally:
            lab.stop()


def one_run(env: dict[str, str], seconds: float, count: int) -> None:
    """All limits at once, from so many processes."""
    spawn = multiprocessing.get_context("spawn")
    out, begin = spawn.Queue(), time.time() + START + START_EACH * count
    given = (env, seconds, begin, out)
    processes = [spawn.Process(target=process, args=given) for _ in range(count)]
    for each in processes:
        each.start()
    histories = [out.get(timeout=seconds + 120) for _ in processes]
    for each in processes:
        each.join()
    tell(count, histories, begin, seconds)


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 120.0,
        [int(each) for each in sys.argv[2:]] or [1, 16],
    )
