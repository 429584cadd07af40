"""`aragora-redis health`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ..address import Address
from ..errors import LabError, SettingsError
from ..lab import Lab
from ..ops.health import Access, SentinelTarget, StandaloneTarget, check_health
from ..ops.report import HealthReport, Status
from ..settings import Credentials, Embedded, Sentinel, Settings, Standalone, Tls, from_env
from . import output
from .options import AsJson

_STYLES = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "magenta",
}


def health(
    *,
    lab: Annotated[
        Path | None,
        typer.Option(
            "--lab",
            "--dir",
            metavar="PATH",
            help="Check the lab in this directory instead of what is configured.",
        ),
    ] = None,
    deadline: Annotated[
        float, typer.Option(min=0.1, max=60, help="Seconds that a server has for its answer.")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Check the configured Redis, its replicas and its Sentinels: one line, then details.

    The exit code is that of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    """
    report = _check(lab, deadline)
    if as_json:
        output.write_json(report.as_dict())
    else:
        _write(report)
    raise typer.Exit(report.exit_code)


def target_of(settings: Settings) -> SentinelTarget | StandaloneTarget | None:
    """The servers that settings lead to, and how to log in to them.

    Raises:
        SettingsError: a file of theirs cannot be used, or they lead to a Unix socket.
    """
    redis = _access(settings.credentials, settings.tls, settings.db)
    match settings.topology:
        case Sentinel(master, hosts):
            sentinel = _access(settings.sentinel_credentials, settings.sentinel_tls)
            return SentinelTarget(hosts, master, redis, sentinel)
        case Standalone(Address() as address):
            return StandaloneTarget(address, redis)
        case Standalone(path):
            raise SettingsError(
                f"servers are asked over TCP, and ARAGORA_REDIS_URL names the Unix socket {path}",
                remedy="give a TCP address of the same server to this check",
            )
        case Embedded():
            return None


def _check(lab: Path | None, deadline: float) -> HealthReport:
    try:
        target = target_of(from_env(None if lab is None else Lab.open(lab).env()))
    except (SettingsError, LabError) as error:
        text = " ".join(str(error).split())
        return HealthReport(Status.UNKNOWN, f"UNKNOWN: {text}")
    return asyncio.run(check_health(target, deadline=deadline))


def _access(credentials: Credentials, tls: Tls | None, db: int = 0) -> Access:
    password = credentials.password()
    return Access(
        credentials.username,
        None if password is None else password.reveal(),
        None if tls is None else tls.context(),
        db,
    )


def _write(report: HealthReport) -> None:
    output.write(report.headline, style=_STYLES[report.status])
    for finding in report.findings:
        line = f"{finding.status.name}: {finding.text}"
        if line != report.headline:
            output.write(f"- {line}", style=_STYLES[finding.status])
