"""`aragora-redis bench`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ..clock import SYSTEM_CLOCK
from ..ops.bench import Load, keyspace
from ..ops.bench import bench as run_bench
from ..settings import Feature, Settings
from . import output
from .deployment import OfLab, demand_redis, settings_of
from .options import AsJson


def bench(
    *,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=60, help="How long, for each number of callers.")
    ] = 2.0,
    callers: Annotated[
        list[int], typer.Option(min=1, max=1024, help="How many ask at once; may be repeated.")
    ] = [1, 16, 256],  # noqa: B006 - typer shows it, and nobody changes it
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Check rate limits against the configured Redis as fast as it answers, and say how fast.

    One connection keeps the primary busy meanwhile, which others there will feel. What is written
    lies under a prefix of its own and expires within seconds. Beside its peers this library is
    measured by `make bench`.
    """
    settings = settings_of(lab).of(Feature.LIMITS)
    demand_redis(settings)
    output.note(
        f"asking as fast as it answers for {seconds * len(callers):g} s; "
        f"the keys are {keyspace(settings)}:*, and gone within seconds"
    )
    loads = asyncio.run(_run(settings, callers, seconds))
    if as_json:
        output.write_json([load.as_dict() for load in loads])
        return
    output.write_table(
        ("CALLERS", "CHECKS/S", "MEDIAN", "P99", "FAILED"), [_row(load) for load in loads]
    )
    if any(load.failed for load in loads):
        output.note(
            f"failed: not decided within {settings.deadline:g} s (ARAGORA_REDIS_DEADLINE)",
            style="yellow",
        )


async def _run(settings: Settings, callers: list[int], seconds: float) -> list[Load]:
    asking = run_bench(settings, callers, seconds=seconds, clock=SYSTEM_CLOCK)
    return [load async for load in asking]


def _row(load: Load) -> tuple[str, ...]:
    return (
        str(load.callers),
        f"{load.rate:,.0f}",
        f"{load.median * 1e3:.2f} ms",
        f"{load.p99 * 1e3:.2f} ms",
        str(load.failed),
    )
