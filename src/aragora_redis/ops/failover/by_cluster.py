"""Hand over a shard of a cluster by `CLUSTER FAILOVER`, and lose nothing.

The nodes do it: the replica asks its primary to hold writes, waits until it has what the primary
has, and only then asks the other primaries for their votes. They end it by themselves after 5
seconds, so a process that is killed leaves nobody paused. What remains to be done here is to ask,
to see what comes of it, and to prove it.

`FORCE` and `TAKEOVER` are not done here: they leave out the primary, and with it what only it has,
or the vote, and with it what keeps two from holding one slot. `doctor` names them where nothing
else helps, and the runbook says what they cost.

Source: Redis documentation, the command CLUSTER FAILOVER; CLUSTER_MF_TIMEOUT in its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from redis.exceptions import RedisError, ResponseError

from ...address import Address
from ..access import connected
from ..asking import survey
from ..cluster_verdict import keeps_up
from ..cluster_view import key_within
from ..commands import STEP_LIMIT, limited, reason, to_the_end
from ..targets import ClusterTarget
from .report import Phase
from .shard_plan import ShardPlan
from .steps import VERIFY_LIMIT, AdriftError, BackedOutError, Steps
from .write_gap import WriteGap

TAKE_OVER_LIMIT = 5.0
"""Seconds after which the nodes give it up."""
LEEWAY = 1.0
"""Seconds by which they may be late."""


class ClusterHandover:
    """One switchover of one shard."""

    def __init__(self, plan: ShardPlan, target: ClusterTarget, prefix: str, steps: Steps) -> None:
        self._plan = plan
        self._target = target
        self._prefix = prefix
        self._steps = steps
        self._gap = WriteGap(key_within(f"{prefix}:failover", plan.slots), steps.now)

    async def hand_over(self) -> None:
        """All phases. From the first on the nodes go on, whatever becomes of us."""
        await to_the_end(self._take_over())

    async def _take_over(self) -> None:
        plan, steps = self._plan, self._steps
        async with self._gap.watched((plan.old, plan.new), self._target.redis):
            await self._writable(STEP_LIMIT, plan.old)
            await steps.phase(Phase.PROMOTE, self._promote())
            writable = await self._writable(STEP_LIMIT, plan.new)
            if writable is not None and not self._gap.denied:
                steps.progress.pause = self._gap.longest
        await steps.phase(Phase.VERIFY, self._verify())

    async def _writable(self, limit: float, *nodes: Address) -> Address | None:
        """Which of the nodes takes writes, or says that it would where we may not write."""
        since = self._steps.now()
        found: Address | None = None

        async def taken() -> bool:
            nonlocal found
            for at in nodes:
                denied = self._gap.denied and await self._is_primary(at)
                if denied or self._gap.taken_since(at, since):
                    found = at
            return found is not None

        await self._steps.until(taken, limit)
        return found

    async def _promote(self) -> None:
        new = self._plan.new
        try:
            async with connected(new, self._target.redis) as replica:
                ask: Any = replica.execute_command
                await limited(ask("CLUSTER", "FAILOVER"))
        except ResponseError as error:
            await self._give_up(f"{new} refuses: {reason(error)}")
        except (RedisError, OSError, TimeoutError) as error:
            await self._give_up(
                f"{new} failed ({reason(error)}), and may still take over, with nothing lost, when "
                "it goes on"
            )

        async def promoted() -> bool:
            return await self._is_primary(new)

        if not await self._steps.until(promoted, TAKE_OVER_LIMIT + LEEWAY):
            await self._give_up(
                f"{new} did not take over within {TAKE_OVER_LIMIT:.0f} s: it did not catch up, or "
                "was not voted for; a node asks for votes once in four times the "
                f"cluster-node-timeout, so try again after {self._plan.again_after:.0f} s"
            )

    async def _give_up(self, why: str) -> NoReturn:
        """Say so once somebody takes writes: the old primary, if all is as it was."""
        old, new = self._plan.old, self._plan.new
        writable = await self._writable(TAKE_OVER_LIMIT + LEEWAY, old, new)
        if writable == old:
            raise BackedOutError(why)
        became = f"{new} has been made primary" if writable == new else f"{old} takes no writes"
        raise AdriftError(f"{why}; {became}")

    async def _is_primary(self, at: Address) -> bool:
        return (await self._replication(at)).get("role") == "master"

    async def _verify(self) -> None:
        if not await self._steps.until(self._followed, VERIFY_LIMIT):
            self._steps.note_unverified(
                f"not everybody follows {self._plan.new} after {VERIFY_LIMIT:.0f} s; see "
                "aragora-redis doctor"
            )
            return
        old, new = [await self._replication(at) for at in (self._plan.old, self._plan.new)]
        self._steps.progress.drained = went_on_from(old, new)
        if not self._steps.progress.drained:
            self._steps.note_unverified(
                f"{self._plan.old} was copied anew from {self._plan.new}, so nobody can tell "
                "whether it had more"
            )

    async def _followed(self) -> bool:
        plan = self._plan
        seen = await survey(
            self._target, prefix=self._prefix, clock=self._steps.clock, details=False
        )
        view = seen.cluster
        holder = next((h for h in view.holders if h.address == plan.new), None) if view else None
        if view is None or holder is None or view.dissenters:
            return False
        epochs = {word.epoch for word in view.words.values()}
        return (
            len(epochs) == 1
            and plan.old in holder.replicas
            and all(keeps_up(seen, view, holder, at) for at in holder.replicas if at in seen.alive)
        )

    async def _replication(self, at: Address) -> dict[str, Any]:
        try:
            async with connected(at, self._target.redis) as node:
                info: dict[str, Any] = await limited(node.info("replication"))
        except (RedisError, OSError, TimeoutError):
            return {}
        return info


def went_on_from(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the history of the old primary ended no later than where the new one's begins.

    Both remember the id of the history before and its end. An old primary that had more, and one
    that was away for too long, is copied anew and remembers nothing.

    Args:
        old: `INFO replication` of the old primary, now a replica.
        new: that of the new one.
    """
    if old.get("master_replid2", "") != new.get("master_replid2"):
        return False
    return int(old["second_repl_offset"]) <= int(new["second_repl_offset"])
