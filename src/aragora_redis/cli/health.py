"""`aragora-redis health`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import write_to_textfile

from ..errors import AragoraRedisError
from ..ops.health import check_health
from ..ops.performance import performance_data, registry_of
from ..ops.probe import Probe
from ..ops.report import HealthReport, Status
from . import output
from .deployment import Deadline, OfLab, demand_target, settings_of
from .options import AsJson


def health(
    *,
    lab: OfLab = None,
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

    The exit code is that of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. The last
    line, after a bar, is their performance data.
    """
    report = _check(lab, probe, deadline)
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


def _check(lab: Path | None, probe: Probe | None, deadline: float) -> HealthReport:
    try:
        settings = settings_of(lab)
        target = demand_target(settings)
    except AragoraRedisError as error:
        text = " ".join(str(error).split())
        return HealthReport(Status.UNKNOWN, f"UNKNOWN: {text}")
    return asyncio.run(check_health(target, probe=probe, deadline=deadline, prefix=settings.prefix))


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
