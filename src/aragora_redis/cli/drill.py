"""`aragora-redis drill`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..address import Address
from ..clock import SYSTEM_CLOCK
from ..errors import InvalidInputError
from ..lab import Lab, Mode
from ..ops.asking import survey
from ..ops.cluster_verdict import node_timeout
from ..ops.doctor import examine
from ..ops.drill import (
    LEGEND,
    Actor,
    DrillReport,
    LabActor,
    RemoteActor,
    Scenario,
    Service,
    Stage,
    Terms,
    page,
    part_named,
    parts_of,
    run_drill,
    switcher,
)
from ..ops.report import Status
from ..ops.survey import Survey
from ..ops.targets import ClusterTarget, SentinelTarget, StandaloneTarget, Target
from ..settings import Settings
from . import output
from .deployment import Deadline, OfFeature, OfLab, OfShard, demand_target, settings_of, shard_named
from .ending import unless_ended
from .options import AsJson

_PROVIDERS = (
    "by `aws elasticache test-failover`, `gcloud redis instances failover` (Memorystore), "
    "`az redis force-reboot --reboot-type PrimaryNode` (Azure Cache for Redis)"
)


def drill(
    scenario: Annotated[Scenario, typer.Argument(help="What is done to the deployment.")],
    *,
    lab: OfLab = None,
    of: OfFeature = None,
    shard: OfShard = None,
    confirm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Do it to the configured deployment, whose primary the Sentinels call so; in a "
            "Redis Cluster, the address of the shard's primary.",
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

    On a lab (--lab), or on what is configured, if --confirm repeats the name of its master. In a
    Redis Cluster the fault is that of one shard, the first where none is named, and writers on all
    others show that nothing happens there. Of managed services that of a lab can be drilled; others
    by their providers alone. The exit code is 0 where the objectives held, 1 where
    one was missed, a fault that may not have been made was not seen, or the HTML not written, 2
    where nothing was drilled or the verdict cannot be told.
    """
    settings = settings_of(lab).of(of)
    target = demand_target(settings)
    opened = None if lab is None else Lab.open(lab)
    service = _service(opened) if isinstance(target, StandaloneTarget) else None
    if scenario is Scenario.LOSE_SENTINEL and not isinstance(target, SentinelTarget):
        what = "a Redis Cluster" if service is None else "a managed service"
        raise InvalidInputError(f"{what} has no Sentinels", remedy="drill kill-primary")
    named = None if shard is None else shard_named(shard, opened)
    seen = asyncio.run(
        survey(target, prefix=settings.prefix, clock=SYSTEM_CLOCK, deadline=deadline, details=False)
    )
    stage = _stage(settings, target, seen, named, service)
    if not isinstance(target, StandaloneTarget) and lab is None:
        _demand_confirmation(target, stage, scenario, confirm)
    if html is not None:
        html.open("ab").close()  # before the fault, rather than after it in vain
    usual = (
        scenario.objectives(_down_after(seen))
        if service is None
        else scenario.objectives(service.down_after, service.name_delay)
    )
    objectives = replace(usual, gap=usual.gap if max_gap is None else max_gap, lost=max_lost)
    if stage is None:
        report = DrillReport(scenario, objectives, refused=_why_nobody(seen))
    else:
        report = _run(
            run_drill(
                stage,
                scenario,
                _actor(stage, scenario, opened, force=force),
                terms=Terms(objectives=objectives, hold=hold, force=force, deadline=deadline),
                clock=SYSTEM_CLOCK,
                on_step=output.note,
            )
        )
    if as_json:
        output.write_json(report.as_dict())
    else:
        _write(report)
    code = report.exit_code
    if html is not None:
        try:
            html.write_text(page(report), "utf-8")
        except OSError as error:
            output.note(f"{html} is not written: {error.strerror}", style="yellow")
            code = max(code, 1)
    raise typer.Exit(code)


def _service(lab: Lab | None) -> Service:
    """The managed service of a lab.

    Raises:
        InvalidInputError: there is none that we could do anything to.
    """
    if lab is None:
        raise InvalidInputError(
            "there are neither Sentinels nor a Redis Cluster here, and who is behind the name of a "
            "managed service nobody but its provider can replace",
            remedy=f"have that done, {_PROVIDERS}, while `aragora-redis status --watch` looks on; "
            "or drill a lab of mode managed: --lab PATH",
        )
    if lab.status().mode is not Mode.MANAGED:
        raise InvalidInputError(
            "there is nobody who could take over in a lab of one Redis",
            remedy="drill a lab of mode sentinel, cluster or managed",
        )
    return Service(lab)


def _run(drilled: Coroutine[Any, Any, DrillReport]) -> DrillReport:
    """Drill, and mend what was broken when Ctrl-C, SIGTERM or the end of a terminal ends that."""
    try:
        return asyncio.run(unless_ended(drilled))
    except asyncio.CancelledError:
        output.note("ended before its time; there is no report")
        raise typer.Exit(130) from None


def _stage(
    settings: Settings,
    target: Target,
    seen: Survey,
    named: Address | int | None,
    service: Service | None,
) -> Stage | None:
    """Where it is done: on the part that is named, or the first; None where there is no primary.

    Raises:
        InvalidInputError: there is no such part.
    """
    parts = parts_of(seen)
    part = part_named(parts, named)
    if part is None and parts:
        known = ", ".join(str(each.primary) for each in parts)
        raise InvalidInputError(
            f"{named} is neither a node nor a slot of a shard",
            remedy=f"the primaries are {known}",
        )
    others = tuple(each for each in parts if each != part)
    return None if part is None else Stage(settings, target, part, others, service)


def _why_nobody(seen: Survey) -> tuple[str, ...]:
    """Why no primary can be found."""
    found = examine(seen).diagnoses
    critical = tuple(each.headline for each in found if each.status is Status.CRITICAL)
    return critical or ("nobody who was asked names a primary",)


def _demand_confirmation(
    target: SentinelTarget | ClusterTarget,
    stage: Stage | None,
    scenario: Scenario,
    confirm: str | None,
) -> None:
    if isinstance(target, SentinelTarget):
        name = target.master_name
        what = f"{name!r} at {', '.join(map(str, target.sentinels))}"
    elif stage is None:
        return  # which is told as it is
    else:
        name = str(stage.part.primary)
        what = f"{name}, the primary of slots {stage.part}, or all where all are meant"
    if confirm != name:
        raise InvalidInputError(
            f"{scenario} would be done to {what}",
            remedy=f"if that is meant, repeat it: --confirm {name}; for a lab name it: --lab PATH",
        )


def _actor(stage: Stage, scenario: Scenario, lab: Lab | None, *, force: bool) -> Actor:
    primary = stage.part.primary
    if lab is not None and stage.service is not None:
        return LabActor(lab, scenario, stage.service.primary, stage.service.switch)
    clustered = isinstance(stage.target, ClusterTarget)
    switch = switcher(
        stage.target,
        stage.settings.prefix,
        SYSTEM_CLOCK,
        shard=primary if clustered else None,
        force=force,
    )
    if lab is None:
        return RemoteActor(stage.target, scenario, primary, switch)
    names = {node.address: node.name for node in lab.status().nodes}
    return LabActor(lab, scenario, names.get(primary, "primary"), switch)


def _down_after(seen: Survey) -> float:
    """Seconds after which a silent server is called down."""
    told = [int(each.master["down-after-milliseconds"]) for each in seen.heard.values()]
    if seen.cluster is not None:
        return max(map(node_timeout, seen.alive.values()), default=node_timeout(None))
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
                "?" if found.lost is None else str(found.lost),
                str(found.failed),
                str(found.unknown),
                f"{found.gap:.2f} s",
                f"{found.slowest:.2f} s",
            )
            for name, found in verdict.writers.items()
        ],
    )
    for line in LEGEND:
        output.write(line, style="dim")
    for told, seconds in (
        ("it was agreed that it is down after", verdict.detection),
        ("another primary was announced after", verdict.promotion),
    ):
        if seconds is not None:
            output.write(f"{told} {seconds:.2f} s")
    for note in report.notes:
        output.write(f"- {note}", style="yellow")
