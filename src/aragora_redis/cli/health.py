"""`aragora-redis health`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import write_to_textfile

from ..errors import AragoraRedisError
from ..ops.health import check_health
from ..ops.performance import performance_data, registry_of
from ..ops.probe import Probe
from ..ops.report import HealthReport, Status, together
from ..settings import Feature, Settings
from . import output
from .deployment import Deadline, OfFeature, OfLab, demand_target, each_redis, settings_of
from .options import AsJson


def health(
    *,
    lab: OfLab = None,
    of: OfFeature = None,
    deadline: Deadline = 2.0,
    probe: Annotated[
        Probe | None,
        typer.Option(help="Answer one question instead, for an orchestrator; never redundancy."),
    ] = None,
    prometheus: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the figures there as well, for the textfile collector of node_exporter.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the configured Redis, its replicas and its Sentinels: one line, then details.

    Where features have a Redis of their own all are checked, and the worst is told first.

    The exit code is that of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. The last
    line, after a bar, is their performance data.
    """
    report = _check(lab, of, probe, deadline)
    if prometheus is not None:
        try:
            write_to_textfile(str(prometheus), registry_of(report))
        except OSError as error:
            text = f"UNKNOWN: {prometheus} cannot be written: {error.strerror}"
            report = replace(report, status=Status.UNKNOWN, headline=text)
    if as_json:
        output.write_json(report.as_dict())
    else:
        _write(report)
    raise typer.Exit(report.exit_code)


def _check(
    lab: Path | None, of: Feature | None, probe: Probe | None, deadline: float
) -> HealthReport:
    try:
        each = each_redis(settings_of(lab), of)
    except AragoraRedisError as error:
        return _unknown(error)
    return asyncio.run(_ask(each, probe, deadline))


async def _ask(each: Mapping[str, Settings], probe: Probe | None, deadline: float) -> HealthReport:
    async def ask(settings: Settings) -> HealthReport:
        try:
            target = demand_target(settings)
        except AragoraRedisError as error:
            return _unknown(error).named(settings.variable)
        found = await check_health(target, probe=probe, deadline=deadline, prefix=settings.prefix)
        return found.named(settings.variable)

    reports = await asyncio.gather(*map(ask, each.values()))
    return reports[0] if len(reports) == 1 else together(dict(zip(each, reports, strict=True)))


def _unknown(error: AragoraRedisError) -> HealthReport:
    return HealthReport(Status.UNKNOWN, f"UNKNOWN: {' '.join(str(error).split())}")


def _write(report: HealthReport) -> None:
    output.write(report.headline, style=output.STYLES[report.status])
    for finding in report.findings:
        line = f"{finding.status.name}: {finding.text}"
        if line != report.headline:
            output.write(f"- {line}", style=output.STYLES[finding.status])
    for note in report.notes:
        output.write(f"- {note}", style="dim")
    if figures := performance_data(report):
        output.write(f"| {figures}", style="dim")
