"""`aragora-redis doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..clock import SYSTEM_CLOCK
from ..errors import AragoraRedisError
from ..ops.asking import survey
from ..ops.connect import ConnectReport, check_ways
from ..ops.doctor import Diagnosis, Examination, examine
from ..ops.outbox_look import look
from ..ops.report import Status, whose
from ..settings import Feature, Settings
from . import output
from .deployment import (
    Deadline,
    OfFeature,
    OfLab,
    demand_target,
    each_redis,
    outbox_named,
    settings_of,
)
from .options import AsJson
from .recipes import in_lab


def doctor(
    *,
    lab: OfLab = None,
    of: OfFeature = None,
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

    Where features have a Redis of their own all are asked.

    With ARAGORA_TOKENS_OUTBOX the outbox on this machine is looked at too, as its owner or root.

    Nothing is changed. The exit code is 0 for nothing found, 1 for warnings, 2 for what is or will
    be an outage or a loss.
    """
    settings = settings_of(lab)
    each = each_redis(settings, of)
    if connect:
        _try_ways(each, deadline, as_json=as_json)
    outbox = None
    if (directory := outbox_named()) is not None:
        outbox = look(
            directory, fingerprint=settings.fingerprint, prefix=settings.prefix, deadline=deadline
        )
    examined = {}
    for name, own in each.items():
        try:
            target = demand_target(own)
        except AragoraRedisError as error:
            if len(each) == 1:
                raise
            examined[name] = Examination((_unexamined(error),)).named(own.variable)
            continue
        seen = asyncio.run(
            survey(
                target, prefix=settings.prefix, clock=SYSTEM_CLOCK, deadline=deadline, flush=flush
            )
        )
        if own == settings.of(Feature.TOKENS):
            seen = replace(seen, outbox=outbox)
        kept = {Feature.TOKENS, Feature.SESSIONS}.intersection(settings.each_redis()[own])
        examined[name] = examine(replace(seen, keeps=bool(kept))).named(own.variable)
    found = (
        next(iter(examined.values())) if len(examined) == 1 else Examination.of_several(examined)
    )
    if lab is not None:
        found = replace(found, notes=(*found.notes, *_of_lab(lab)))
    if as_json:
        output.write_json(found.as_dict())
    else:
        _write(found)
    raise typer.Exit(found.exit_code)


def _unexamined(error: AragoraRedisError) -> Diagnosis:
    return Diagnosis(
        name="not-examined",
        status=Status.WARNING,
        subject="it",
        evidence=f"cannot be asked: {error.message}",
        consequence="nothing is known of it",
        fix=error.remedy,
    )


def _try_ways(each: Mapping[str, Settings], deadline: float, *, as_json: bool) -> NoReturn:
    ways = {
        name: asyncio.run(
            check_ways(demand_target(own), clock=SYSTEM_CLOCK, deadline=deadline, prefix=own.prefix)
        ).named(own.variable)
        for name, own in each.items()
    }
    if as_json:
        told = {name: each.as_dict() for name, each in ways.items()}
        output.write_json(told if len(told) > 1 else next(iter(told.values())))
    for name, found in () if as_json else ways.items():
        if len(ways) > 1:
            output.write(f"{whose(name)}:")
        _write_ways(found)
    raise typer.Exit(max(each.exit_code for each in ways.values()))


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
