"""`aragora-redis status`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..clock import SYSTEM_CLOCK
from ..ops.asking import survey
from ..ops.overview import Overview, Server, Watcher, overview_of
from ..ops.report import Status, whose
from ..ops.survey import Instance
from ..ops.targets import Target
from ..settings import Feature
from . import output
from .deployment import Deadline, OfFeature, OfLab, demand_target, each_redis, settings_of
from .options import AsJson

EVERY = 1.0
"""Seconds between looks."""
MEBIBYTE = 1024 * 1024
_ELSEWHERE = "elsewhere"
"""In place of what is in the Redis of another feature."""
_LIMITS = "limits: checks in the last two seconds, decided by Redis or by the instance alone"


def status(
    *,
    lab: OfLab = None,
    of: OfFeature = None,
    deadline: Deadline = 1.0,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again each second, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the servers as a tree, the Sentinels, and the instances of this library.

    The exit code is 0 where all is in place, 1 where something is missing, 2 without a primary, or
    with slots of a cluster that are not served.
    With --watch and --json each look is one line. Where features have a Redis of their own all are
    shown.
    """
    settings = settings_of(lab)
    targets = {name: demand_target(own) for name, own in each_redis(settings, of).items()}
    looks = partial(_look, targets, settings.prefix, deadline)
    if watch:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_watch(looks, as_json=as_json))
        raise typer.Exit(0)
    seen = asyncio.run(looks())
    if as_json:
        output.write_json(_told(seen))
    else:
        output.show(_drawn_each(seen))
    raise typer.Exit(max(each.exit_code for each in seen.values()))


Seen = Mapping[str, Overview]
"""What each Redis looks like, by the features whose it is."""


async def _look(targets: Mapping[str, Target], prefix: str, deadline: float) -> Seen:
    surveys = await asyncio.gather(
        *(
            survey(target, prefix=prefix, clock=SYSTEM_CLOCK, deadline=deadline)
            for target in targets.values()
        )
    )
    return dict(zip(targets, map(overview_of, surveys), strict=True))


async def _watch(look: Callable[[], Coroutine[Any, Any, Seen]], *, as_json: bool) -> None:
    if as_json:
        while True:
            output.write_json_line(_told(await look()))
            await asyncio.sleep(EVERY)
    if not output.console().is_terminal:  # a file or a pipe gets each look, and at once
        while True:
            output.show(_drawn_each(await look()))
            sys.stdout.flush()
            await asyncio.sleep(EVERY)
    with Live(Text("asking ..."), auto_refresh=False, console=output.console()) as live:
        while True:
            live.update(_drawn_each(await look()), refresh=True)
            await asyncio.sleep(EVERY)


def _told(seen: Seen) -> dict[str, Any]:
    if len(seen) == 1:
        return next(iter(seen.values())).as_dict()
    return {"redis": {name: each.as_dict() for name, each in seen.items()}}


def _drawn_each(seen: Seen) -> RenderableType:
    if len(seen) == 1:
        return _drawn(next(iter(seen.values())))
    parts: list[RenderableType] = []
    for name, each in seen.items():
        decides = Feature.LIMITS in name.split(", ")
        parts += [Text(f"{whose(name)}:", style="bold"), _drawn(each, decides=decides)]
    return Group(*parts)


def _drawn(seen: Overview, *, decides: bool = True) -> RenderableType:
    style = output.STYLES[seen.status]
    tree = Tree(Text(f"{_title(seen)} ({seen.status.name})", style=style))
    for server in seen.servers:
        _branch(tree, server)
    parts: list[RenderableType] = [tree]
    if seen.sentinels:
        watchers = Tree("Sentinels")
        for each in seen.sentinels:
            watchers.add(_watcher(each))
        parts.append(watchers)
    if seen.instances:
        parts.append(_instances(seen.instances, decides=decides))
        if decides:
            parts.append(Text(_LIMITS, style="dim"))
    parts += [Text(f"- {note}", style="dim") for note in seen.notes]
    return Group(*parts)


def _title(seen: Overview) -> str:
    if seen.cluster is not None:
        return f"Redis Cluster: {seen.cluster.served} of {seen.cluster.slots} slots served"
    return f"{seen.master_name or 'Redis'}: {seen.primary or 'no primary'}"


def _branch(tree: Tree, server: Server) -> None:
    text = Text.assemble((server.address, "bold"), f"  {server.role}")
    for told, value in (
        ("slots", server.slots),
        ("offset", server.offset),
        ("behind", None if server.behind is None else f"{server.behind} bytes"),
        ("lag", None if server.lag is None else f"{server.lag} s"),
        ("memory", _memory(server)),
        ("clients", server.clients),
        ("version", server.version),
    ):
        if value is not None and value != "":
            text.append(f"  {told} ", style="dim").append(str(value))
    if server.trouble is not None:
        text.append(f"  {server.trouble}", style=output.STYLES[Status.CRITICAL])
    branch = tree.add(text)
    for replica in server.replicas:
        _branch(branch, replica)


def _memory(server: Server) -> str | None:
    if server.memory is None:
        return None
    most = f" of {server.max_memory / MEBIBYTE:.0f}" if server.max_memory else ""
    return f"{server.memory / MEBIBYTE:.1f}{most} MiB"


def _watcher(each: Watcher) -> Text:
    text = Text(each.address, style="bold")
    if each.trouble is not None:
        return text.append(f"  {each.trouble}", style=output.STYLES[Status.CRITICAL])
    text.append(f"  names {each.names}  epoch {each.epoch}", style="not bold")
    if each.tilted:
        text.append("  TILT", style=output.STYLES[Status.WARNING])
    return text


def _instances(instances: tuple[Instance, ...], *, decides: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("INSTANCE", "REVOCATIONS", "LIMITS BY REDIS", "LIMITS ALONE"):
        table.add_column(name, overflow="fold")
    for each in instances:
        if each.staleness is None:
            behind = _ELSEWHERE
        else:
            known = math.isfinite(each.staleness)
            behind = f"{each.staleness:.1f} s old" if known else "not loaded"
        alone = Text(str(each.alone), style=output.STYLES[Status.WARNING] if each.alone else "")
        limits = (str(each.by_redis), alone) if decides else (_ELSEWHERE, _ELSEWHERE)
        table.add_row(each.name, behind, *limits)
    return table
