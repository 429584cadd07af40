"""`aragora-redis drill`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ..clock import SYSTEM_CLOCK
from ..errors import InvalidInputError
from ..lab import Lab
from ..ops.asking import survey
from ..ops.drill import (
    DrillReport,
    LabActor,
    RemoteActor,
    Scenario,
    Terms,
    page,
    run_drill,
    switcher,
)
from ..ops.drill.measures import Objectives
from ..ops.survey import Survey
from ..ops.targets import SentinelTarget
from ..settings import Settings
from . import output
from .deployment import Deadline, OfLab, demand_target, settings_of
from .options import AsJson


def drill(
    scenario: Annotated[Scenario, typer.Argument(help="What is done to the deployment.")],
    *,
    lab: OfLab = None,
    confirm: Annotated[
        str | None,
        typer.Option(
            metavar="MASTER_NAME",
            help="Do it to the configured deployment, whose primary the Sentinels call so.",
        ),
    ] = None,
    max_gap: Annotated[
        float | None, typer.Option(min=0, help="Seconds without an acknowledged write, at most.")
    ] = None,
    max_lost: Annotated[int, typer.Option(min=0, help="Acknowledged writes lost, at most.")] = 0,
    hold: Annotated[
        float, typer.Option(min=0, max=300, help="Seconds for which the fault lasts.")
    ] = 2.0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report with its picture there.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although something is out of order already.")
    ] = False,
    deadline: Deadline = 1.0,
    as_json: AsJson = False,
) -> None:
    """Make a fault while this library and plain redis-py write numbers, and count what is lost.

    On a lab (--lab), or on what is configured, if --confirm repeats the name of its master. The
    exit code is 0 where the objectives held, 1 where one was missed, 2 where nothing was drilled.
    """
    settings = settings_of(lab)
    target = demand_target(settings)
    if not isinstance(target, SentinelTarget):
        raise InvalidInputError(
            "a drill needs Sentinels, and there are none here",
            remedy="drill a lab of mode sentinel, or a deployment with Sentinels",
        )
    if lab is None and confirm != target.master_name:
        raise InvalidInputError(
            f"{scenario} would be done to {target.master_name!r} at "
            f"{', '.join(map(str, target.sentinels))}",
            remedy=f"if that is meant, repeat it: --confirm {target.master_name}; "
            "for a lab name it: --lab PATH",
        )
    if html is not None:
        html.open("ab").close()  # before the fault, rather than after it in vain
    report = asyncio.run(
        _run(
            settings,
            target,
            scenario,
            None if lab is None else Lab.open(lab),
            objectives=(max_gap, max_lost),
            hold=hold,
            force=force,
            deadline=deadline,
        )
    )
    if html is not None:
        html.write_text(page(report), "utf-8")
    if as_json:
        output.write_json(report.as_dict())
    else:
        _write(report)
    raise typer.Exit(report.exit_code)


async def _run(
    settings: Settings,
    target: SentinelTarget,
    scenario: Scenario,
    lab: Lab | None,
    *,
    objectives: tuple[float | None, int],
    hold: float,
    force: bool,
    deadline: float,
) -> DrillReport:
    switch = switcher(target, settings.prefix, SYSTEM_CLOCK, force=force)
    actor = (
        LabActor(lab, scenario, switch)
        if lab is not None
        else RemoteActor(target, scenario, switch)
    )
    seen = await survey(target, prefix=settings.prefix, clock=SYSTEM_CLOCK, deadline=deadline)
    usual = scenario.objectives(_down_after(seen))
    gap, lost = objectives
    return await run_drill(
        settings,
        target,
        scenario,
        actor,
        terms=Terms(
            objectives=Objectives(gap=usual.gap if gap is None else gap, lost=lost),
            hold=hold,
            force=force,
            deadline=deadline,
        ),
        clock=SYSTEM_CLOCK,
        on_step=output.note,
    )


def _down_after(seen: Survey) -> float:
    told = [int(each.master["down-after-milliseconds"]) for each in seen.heard.values()]
    return max(told, default=5000) / 1000


def _write(report: DrillReport) -> None:
    output.write(report.headline, style=output.STYLES[report.status])
    verdict = report.verdict
    if verdict is None:
        return
    header = ("WRITER", "ACKNOWLEDGED", "LOST", "FAILED", "UNKNOWN", "LONGEST GAP", "SLOWEST")
    output.write_table(
        header,
        [
            (
                name,
                str(found.acknowledged),
                str(found.lost),
                str(found.failed),
                str(found.unknown),
                f"{found.gap:.2f} s",
                f"{found.slowest:.2f} s",
            )
            for name, found in verdict.writers.items()
        ],
    )
    for told, seconds in (
        ("the Sentinels agreed that it is down after", verdict.detection),
        ("they announced another primary after", verdict.promotion),
    ):
        if seconds is not None:
            output.write(f"{told} {seconds:.2f} s")
    for note in report.notes:
        output.write(f"- {note}", style="yellow")
