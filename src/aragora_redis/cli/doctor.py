"""`aragora-redis doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..clock import SYSTEM_CLOCK
from ..ops.asking import survey
from ..ops.connect import ConnectReport, check_ways
from ..ops.doctor import Examination, examine
from ..ops.outbox_look import look
from . import output
from .deployment import Deadline, OfLab, demand_target, outbox_named, settings_of
from .options import AsJson
from .recipes import in_lab


def doctor(
    *,
    lab: OfLab = None,
    deadline: Deadline = 2.0,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Only try the way to each server: DNS, TCP, TLS, login, role."
        ),
    ] = False,
    flush: Annotated[
        bool,
        typer.Option(
            "--flush",
            help="Have each Sentinel write its configuration file too, the one way to learn "
            "whether it can.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask every Sentinel, server and node, and say what is wrong, what follows, and what mends it.

    With ARAGORA_TOKENS_OUTBOX the outbox on this machine is looked at too, as its owner or root.

    Nothing is changed. The exit code is 0 for nothing found, 1 for warnings, 2 for what is or will
    be an outage or a loss.
    """
    settings = settings_of(lab)
    target = demand_target(settings)
    if connect:
        ways = asyncio.run(
            check_ways(target, clock=SYSTEM_CLOCK, deadline=deadline, prefix=settings.prefix)
        )
        if as_json:
            output.write_json(ways.as_dict())
        else:
            _write_ways(ways)
        raise typer.Exit(ways.exit_code)
    seen = asyncio.run(
        survey(target, prefix=settings.prefix, clock=SYSTEM_CLOCK, deadline=deadline, flush=flush)
    )
    if (outbox := outbox_named()) is not None:
        sight = look(
            outbox, fingerprint=settings.fingerprint, prefix=settings.prefix, deadline=deadline
        )
        seen = replace(seen, outbox=sight)
    found = examine(seen)
    if lab is not None:
        found = replace(found, notes=(*found.notes, *_of_lab(lab)))
    if as_json:
        output.write_json(found.as_dict())
    else:
        _write(found)
    raise typer.Exit(found.exit_code)


def _of_lab(directory: Path) -> Iterator[str]:
    """What mends a lab and nothing else: it knows its servers, whoever has forgotten them."""
    from ..lab import Lab, State  # noqa: PLC0415 - thirty modules, which who names no lab does not need

    dead = [each.name for each in Lab.open(directory).status().nodes if each.state is State.DEAD]
    if dead:
        again = in_lab("aragora-redis lab start --all", directory)
        yield f"in this lab {', '.join(dead)} ended; to start what did: {again}"


def _write(found: Examination) -> None:
    if len(found.diagnoses) != 1:  # or it would be said twice
        output.write(found.headline, style=output.STYLES[found.status])
    for each in found.diagnoses:
        if len(found.diagnoses) != 1:
            output.write()
        output.write(f"{each.status.name} {each.headline}", style=output.STYLES[each.status])
        output.write(f"  so   {each.consequence}")
        output.write(f"  fix  {each.fix}")
    for note in found.notes:
        output.write(f"- {note}", style="dim")


def _write_ways(ways: ConnectReport) -> None:
    for way in ways.ways:
        output.write(str(way), style="green" if way.failed is None else "bold red")
