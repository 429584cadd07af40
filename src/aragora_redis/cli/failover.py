"""`aragora-redis failover`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

import typer

from ..address import Address
from ..clock import SYSTEM_CLOCK
from ..errors import Ran
from ..lab import Lab
from ..ops.failover import Phase, SwitchoverReport, switch_over
from ..ops.report import Status
from ..ops.targets import ClusterTarget, Target
from . import output
from .deployment import (
    Deadline,
    OfFeature,
    OfLab,
    OfShard,
    demand_target,
    node_named,
    settings_of,
    shard_named,
)
from .ending import unless_ended
from .options import AsJson

_TOLD = {
    Phase.PREFLIGHT: "asking all servers whether it would hurt",
    Phase.PREFER: "waiting until the Sentinels would promote the replica",
    Phase.PAUSE: "holding writes",
    Phase.DRAIN: "waiting until the replicas have everything",
    Phase.PROMOTE: "the Sentinels promote",
    Phase.DEMOTE: "making the old primary a replica",
    Phase.RESUME: "letting writes go, and clients with them",
    Phase.VERIFY: "waiting until everybody follows",
}
_TOLD_OF_A_SHARD = _TOLD | {
    Phase.PROMOTE: "the replica has writes held, catches up and is voted for",
}
_UNDONE = {Phase.PREFLIGHT, Phase.PREFER, Phase.PAUSE, Phase.DRAIN}
"""What is undone where it is interrupted in one of them."""


def failover(
    *,
    lab: OfLab = None,
    of: OfFeature = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="HOST:PORT", help="Who is to be promoted; in a lab also its name."
        ),
    ] = None,
    shard: OfShard = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who would take over, and do nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Although the preflight finds that it may hurt.")
    ] = False,
    deadline: Deadline = 2.0,
    as_json: AsJson = False,
) -> None:
    """Hand over to a replica, with writes held for about a second and nothing lost.

    Interrupted before the Sentinels were told it undoes what it did, and later it is brought to its
    end; run again after a crash it does what was left undone. In a Redis Cluster one shard is
    handed over, and its nodes end what was begun. It is not on the record that `audit` shows; a
    failover by the dashboard is. The exit code is 0 for done, 1 for refused, interrupted (undone or
    done, as it says) or not verified, 2 for failed.
    """
    settings = settings_of(lab).of(of)
    target = demand_target(settings)
    opened = None if lab is None else Lab.open(lab)
    report = asyncio.run(
        _run(
            target,
            settings.prefix,
            to=None if to is None else node_named(to, opened),
            shard=None if shard is None else shard_named(shard, opened),
            force=force,
            dry_run=dry_run,
            deadline=deadline,
        )
    )
    if as_json:
        output.write_json(report.as_dict())
    else:
        output.write(report.headline, style=output.STYLES[report.status])
        for note in report.progress.notes:
            output.write(f"- {note}")
    raise typer.Exit(report.exit_code)


async def _run(
    target: Target,
    prefix: str,
    *,
    to: Address | None,
    shard: Address | int | None,
    force: bool,
    dry_run: bool,
    deadline: float,
) -> SwitchoverReport:
    reached, interrupted = Phase.PREFLIGHT, False
    told = _TOLD_OF_A_SHARD if isinstance(target, ClusterTarget) else _TOLD

    def on_phase(phase: Phase) -> None:
        nonlocal reached
        reached = phase
        output.note(told[phase])

    def may_end() -> bool:
        nonlocal interrupted
        if reached in _UNDONE:
            return True
        interrupted = True
        output.note("interrupted: it is past the point of return, and is brought to its end")
        return False

    try:
        report = await unless_ended(
            switch_over(
                target,
                prefix=prefix,
                clock=SYSTEM_CLOCK,
                to=to,
                shard=shard,
                force=force,
                dry_run=dry_run,
                deadline=deadline,
                on_phase=on_phase,
            ),
            may_end=may_end,
        )
    except asyncio.CancelledError:
        # It may have gone past the point of return in the moment in which it was interrupted.
        undone = reached in _UNDONE
        became = "undone: nothing has changed" if undone else "brought to its end nevertheless"
        return SwitchoverReport(Status.WARNING, f"WARNING: interrupted, and {became}")
    if interrupted and report.replaced is Ran.YES:
        done = report.headline.removeprefix(f"{report.status.name}: ")
        headline = f"WARNING: done although interrupted: {done}"
        return replace(report, status=Status.WARNING, headline=headline)
    return report
