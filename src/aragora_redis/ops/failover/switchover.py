"""`aragora-redis failover`: replace a primary while it lives, and lose nothing.

Asked is everybody first, and nothing is begun where it would hurt.
"""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ...errors import Ran
from ..asking import survey
from ..commands import reason
from ..report import Status
from ..survey import Survey
from ..targets import ClusterTarget, SentinelTarget, Target
from .by_cluster import ClusterHandover
from .by_sentinels import SentinelHandover
from .plan import Plan, Refusal, plan_switchover
from .report import Phase, Progress, SwitchoverReport
from .shard_plan import ShardPlan, plan_shard_switchover
from .steps import LOOK_EVERY, AdriftError, BackedOutError, OnPhase, Steps

SETTLE_LIMIT = 20.0
"""Seconds in which a failover that is in progress should have ended."""


async def switch_over(
    target: Target,
    *,
    prefix: str,
    clock: Clock,
    to: Address | None = None,
    shard: Address | int | None = None,
    force: bool = False,
    dry_run: bool = False,
    deadline: float = 2.0,
    on_phase: OnPhase = lambda _phase: None,
) -> SwitchoverReport:
    """Replace the primary while it lives; in a cluster, that of one shard.

    Cancelled before those were told who promote it undoes what it did; later it goes on to the end,
    since they do.

    Args:
        target: where settings lead.
        prefix: of this library's keys.
        clock: for how long phases take.
        to: who is to be promoted; None lets the Sentinels choose, and in a cluster takes whichever
            replica of the shard has most.
        shard: which, in a cluster, by any node of it or a slot.
        force: although the preflight finds reasons against it.
        dry_run: tell what would be done, and do nothing.
        deadline: seconds that a server has for its answers in the preflight.
        on_phase: told of each phase as it begins.
    """
    progress = Progress()
    on_phase(Phase.PREFLIGHT)
    end = clock.monotonic() + SETTLE_LIMIT
    while True:
        seen = await survey(target, prefix=prefix, clock=clock, deadline=deadline, details=False)
        plan = _plan(seen, to=to, shard=shard, force=force)
        passing = isinstance(plan, Refusal) and plan.passing
        if not passing or clock.monotonic() > end:
            break
        await asyncio.sleep(LOOK_EVERY)
    if isinstance(plan, Refusal):
        return _refused(plan, progress)
    progress.old, progress.new = plan.old, plan.new
    if dry_run:
        heir = plan.new or "whom the Sentinels choose"
        text = f"{heir} would take over from {plan.old}, and nothing was done"
        return SwitchoverReport(Status.OK, f"OK: {text}", progress)
    steps = Steps(clock, progress, on_phase)
    try:
        await _hand_over(plan, target, prefix, steps)
    except BackedOutError as error:
        return SwitchoverReport(
            Status.CRITICAL, f"CRITICAL: {error}; {plan.old} goes on as primary", progress
        )
    except AdriftError as error:
        text = f"CRITICAL: {error}; see aragora-redis doctor"
        return SwitchoverReport(Status.CRITICAL, text, progress, Ran.UNKNOWN)
    except (RedisError, OSError, TimeoutError) as error:
        steps.note_unverified(_after_promotion(progress, reason(error)))
    return _done(progress)


def _plan(
    seen: Survey, *, to: Address | None, shard: Address | int | None, force: bool
) -> Plan | ShardPlan | Refusal:
    if seen.cluster is not None:
        return plan_shard_switchover(seen, seen.cluster, shard=shard, to=to, force=force)
    if shard is not None:
        return Refusal(("there are shards in a Redis Cluster only, and this is none",))
    return plan_switchover(seen, to=to, force=force)


async def _hand_over(plan: Plan | ShardPlan, target: Target, prefix: str, steps: Steps) -> None:
    match plan, target:
        case ShardPlan(), ClusterTarget():
            await ClusterHandover(plan, target, prefix, steps).hand_over()
        case Plan(unfinished=True), SentinelTarget():
            steps.progress.notes.append(
                f"the Sentinels name {plan.new} already: what an interrupted switchover has left "
                "undone was done"
            )
            await SentinelHandover(plan, target, steps).finish()
        case Plan(), SentinelTarget():
            await SentinelHandover(plan, target, steps).hand_over()


def _after_promotion(progress: Progress, why: str) -> str:
    """What the old primary has left undone, by how far it came."""
    if Phase.DEMOTE not in progress.seconds:
        return (
            f"{progress.old} could not be made a replica ({why}); the Sentinels do so when it is "
            "back"
        )
    return (
        f"{progress.old} was made a replica, and its clients may still be connected to it ({why}): "
        f"their writes are refused until they turn to {progress.new}. Nobody has waited until all "
        "servers follow that; see aragora-redis doctor"
    )


def _refused(plan: Refusal, progress: Progress) -> SwitchoverReport:
    progress.notes.extend(plan.reasons[1:])
    remedy = "; mend it, or take the risk with --force" if plan.forcible else ""
    return SwitchoverReport(
        Status.WARNING, f"WARNING: nothing was begun: {plan.reasons[0]}{remedy}", progress
    )


def _done(progress: Progress) -> SwitchoverReport:
    paused = "" if progress.pause is None else f", writes were held for {progress.pause:.2f} s"
    lost = ", nothing acknowledged was lost" if progress.drained else ""
    text = f"{progress.new} is primary{paused}{lost}"
    behind = [note for note in progress.notes if note.startswith("not verified")]
    status = Status.WARNING if behind else Status.OK
    return SwitchoverReport(status, f"{status.name}: {text}", progress, Ran.YES)
