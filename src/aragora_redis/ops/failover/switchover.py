"""`aragora-redis failover`: hand over from one primary to another, and lose nothing.

The old primary holds writes until a replica has all of them and has been promoted; only as a
replica does it let them go, so that they are refused and never lost. The pause ends by itself, so
that nobody is left paused by a process that was killed: it is short while nothing has happened yet,
and once the Sentinels have been told, as long as they take to demote the old primary themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from ...address import Address
from ...clock import Clock
from ..access import connected
from ..asking import survey
from ..report import Status
from ..survey import address_of
from ..targets import SentinelTarget, Target
from .plan import Plan, Refusal, plan_switchover
from .report import Phase, Progress, SwitchoverReport

SHORT_PAUSE, LONG_PAUSE = 6.0, 30.0
"""Seconds for which writes are held: before the Sentinels were told, and after."""
DRAIN_LIMIT = 4.0
PROMOTE_LIMIT = 20.0
PREFER_LIMIT = 25.0
"""Seconds in which the Sentinels, which ask every ten, have heard of a priority."""
VERIFY_LIMIT = 30.0
SETTLE_LIMIT = 20.0
"""Seconds in which a failover that is in progress should have ended."""
STEP_LIMIT = 2.0
"""Seconds for one command."""
LOOK_EVERY = 0.05
FIRST = 1
"""A priority before all others; 0 would be never."""

OnPhase = Callable[[Phase], None]


class _BackedOutError(Exception):
    """It cannot go on; everything is as it was."""


async def switch_over(
    target: Target,
    *,
    prefix: str,
    clock: Clock,
    to: Address | None = None,
    force: bool = False,
    deadline: float = 2.0,
    on_phase: OnPhase = lambda _phase: None,
) -> SwitchoverReport:
    """Replace the primary while it lives.

    Cancelled before the Sentinels were told it undoes what it did; later it goes on to the end,
    since they do.

    Args:
        target: where settings lead.
        prefix: of this library's keys.
        clock: for how long phases take.
        to: who is to be promoted; None lets the Sentinels choose.
        force: although the preflight finds reasons against it.
        deadline: seconds that a server has for its answers in the preflight.
        on_phase: told of each phase as it begins.
    """
    progress = Progress()
    on_phase(Phase.PREFLIGHT)
    end = clock.monotonic() + SETTLE_LIMIT
    while True:
        seen = await survey(target, prefix=prefix, clock=clock, deadline=deadline)
        plan = plan_switchover(seen, to=to, force=force)
        passing = isinstance(plan, Refusal) and plan.passing
        if not passing or clock.monotonic() > end:
            break
        await asyncio.sleep(LOOK_EVERY)
    if isinstance(plan, Refusal) or not isinstance(target, SentinelTarget):
        return _refused(plan, progress)
    progress.old, progress.new = plan.old, plan.new
    run = _Switchover(plan, target, clock, progress, on_phase)
    try:
        if plan.unfinished:
            progress.notes.append(
                f"the Sentinels name {plan.new} already: what an interrupted switchover has left "
                "undone was done"
            )
            await run.finish()
        else:
            await run.hand_over()
    except _BackedOutError as error:
        return SwitchoverReport(
            Status.CRITICAL, f"CRITICAL: {error}; {plan.old} goes on as primary", progress
        )
    except (RedisError, OSError, TimeoutError) as error:
        progress.notes.append(
            f"not verified: {plan.old} could not be made a replica ({error or 'no answer'}); the "
            "Sentinels do so when it is back"
        )
    return _done(progress)


def _refused(plan: Plan | Refusal, progress: Progress) -> SwitchoverReport:
    reasons = plan.reasons if isinstance(plan, Refusal) else ()
    progress.notes.extend(reasons[1:])
    forcible = isinstance(plan, Refusal) and plan.forcible
    remedy = "; mend it, or take the risk with --force" if forcible else ""
    return SwitchoverReport(
        Status.WARNING, f"WARNING: nothing was begun: {reasons[0]}{remedy}", progress
    )


def _done(progress: Progress) -> SwitchoverReport:
    paused = "" if progress.pause is None else f", writes were held for {progress.pause:.2f} s"
    lost = ", nothing acknowledged was lost" if progress.drained else ""
    text = f"{progress.new} is primary{paused}{lost}"
    behind = [note for note in progress.notes if note.startswith("not verified")]
    status = Status.WARNING if behind else Status.OK
    return SwitchoverReport(status, f"{status.name}: {text}", progress)


class _Switchover:
    def __init__(
        self,
        plan: Plan,
        target: SentinelTarget,
        clock: Clock,
        progress: Progress,
        on_phase: OnPhase,
    ) -> None:
        self._plan = plan
        self._target = target
        self._clock = clock
        self._progress = progress
        self._on_phase = on_phase
        self._paused_at = 0.0

    async def hand_over(self) -> None:
        """All phases."""
        await self._let_go_of_replicas()
        async with self._preferred(), connected(self._plan.old, self._target.redis) as old:
            try:
                await self._phase(Phase.PAUSE, self._pause(old, SHORT_PAUSE))
                await self._phase(Phase.DRAIN, self._drain(old))
                await self._prolong(old)
            except BaseException as error:
                await _to_the_end(self._unpause(old))
                if isinstance(error, RedisError | OSError | TimeoutError):
                    raise _BackedOutError(f"{self._plan.old} failed: {_reason(error)}") from error
                raise
            # From here on the Sentinels go on, whatever becomes of us.
            await _to_the_end(self._take_over(old))

    async def _take_over(self, old: Redis) -> None:
        try:
            await self._phase(Phase.PROMOTE, self._promote())
        except _BackedOutError:
            await self._unpause(old)
            raise
        await self.finish()

    async def finish(self) -> None:
        """What follows a promotion. `progress.new` is primary."""
        async with connected(self._plan.old, self._target.redis) as old:
            await self._phase(Phase.DEMOTE, self._demote(old))
            await self._phase(Phase.RESUME, self._resume(old))
        await self._phase(Phase.VERIFY, self._verify())

    async def _phase(self, phase: Phase, work: Awaitable[None]) -> None:
        self._on_phase(phase)
        began = self._clock.monotonic()
        await work
        self._progress.seconds[phase] = self._clock.monotonic() - began

    # --- before the Sentinels are told ---------------------------------------------------

    async def _let_go_of_replicas(self) -> None:
        """One that was made a replica by a switchover that was killed then is still paused.

        Its replication is paused too, so it would never catch up.
        """
        for at in self._plan.others:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with connected(at, self._target.redis) as node:
                    await _limited(node.client_unpause())

    @asynccontextmanager
    async def _preferred(self) -> AsyncIterator[None]:
        """Within, the chosen replica has a better priority than all others."""
        plan = self._plan
        if plan.new is None or len(plan.others) == 1:
            yield
            return
        before: dict[Address, int] = {}
        try:
            await self._phase(Phase.PREFER, self._prefer(plan.new, before))
            yield
        finally:
            await _to_the_end(self._restore(before))

    async def _prefer(self, chosen: Address, before: dict[Address, int]) -> None:
        try:
            for at in self._plan.others:
                async with connected(at, self._target.redis) as node:
                    found: Any = await _limited(node.config_get("replica-priority"))
                    given = int(found["replica-priority"])
                    wanted = FIRST if at == chosen else given and max(given, FIRST + 1)
                    if given != wanted:
                        before[at] = given
                        await _limited(node.config_set("replica-priority", wanted))
            if not await self._until(self._all_know(chosen), PREFER_LIMIT):
                raise _BackedOutError("the Sentinels have not heard of the priority in time")
        except (RedisError, OSError, TimeoutError) as error:
            raise _BackedOutError(f"priorities cannot be set: {_reason(error)}") from error

    def _all_know(self, chosen: Address) -> Callable[[], Awaitable[bool]]:
        async def known() -> bool:
            for at in self._plan.sentinels:
                async with connected(at, self._target.sentinel) as sentinel:
                    rows: Any = await _limited(sentinel.sentinel_slaves(self._plan.master_name))
                first = {address_of(row) for row in rows if int(row["slave-priority"]) == FIRST}
                if first != {chosen}:
                    return False
            return True

        return known

    async def _restore(self, before: dict[Address, int]) -> None:
        for at, given in before.items():
            try:
                async with connected(at, self._target.redis) as node:
                    await _limited(node.config_set("replica-priority", given))
            except (RedisError, OSError, TimeoutError):
                self._progress.notes.append(
                    f"not verified: {at} may still have another replica-priority than {given}"
                )

    async def _pause(self, old: Redis, seconds: float) -> None:
        if not self._paused_at:
            self._paused_at = self._clock.monotonic()
        await _limited(old.client_pause(int(seconds * 1000), all=False))

    async def _prolong(self, old: Redis) -> None:
        """Hold writes for as long as the Sentinels may need, if they are certainly held still."""
        if self._clock.monotonic() - self._paused_at > SHORT_PAUSE - STEP_LIMIT / 2:
            raise _BackedOutError("the pause was about to end before the replicas had caught up")
        await self._pause(old, LONG_PAUSE)

    async def _unpause(self, old: Redis) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await _limited(old.client_unpause())

    async def _drain(self, old: Redis) -> None:
        info: Any = await _limited(old.info("replication"))
        goal = int(info["master_repl_offset"])
        wanted = [self._plan.new] if self._plan.new else list(self._plan.others)

        async def drained() -> bool:
            seen = [await self._offset(at) for at in wanted]
            return all(offset is not None and offset >= goal for offset in seen)

        if not await self._until(drained, DRAIN_LIMIT):
            raise _BackedOutError(f"the replicas did not catch up within {DRAIN_LIMIT:.0f} s")
        self._progress.drained = True

    async def _offset(self, at: Address) -> int | None:
        try:
            async with connected(at, self._target.redis) as node:
                info: Any = await _limited(node.info("replication"))
        except (RedisError, OSError, TimeoutError):
            return None
        return int(info["slave_repl_offset"]) if info.get("role") == "slave" else None

    # --- and after ---------------------------------------------------------------------------

    async def _promote(self) -> None:
        refused = "no Sentinel could be asked"
        for at in self._plan.sentinels:
            try:
                async with connected(at, self._target.sentinel) as sentinel:
                    ask: Any = sentinel.execute_command
                    await _limited(ask("SENTINEL FAILOVER", self._plan.master_name))
                break
            except RedisError as error:
                refused = f"Sentinel {at} refuses: {_reason(error)}"
            except (OSError, TimeoutError):
                continue
        else:
            raise _BackedOutError(refused)
        self._progress.new = await self._wait_for_promotion()
        self._progress.pause = self._clock.monotonic() - self._paused_at

    async def _wait_for_promotion(self) -> Address:
        promoted: Address | None = None

        async def named() -> bool:
            nonlocal promoted
            votes = [await self._named(at) for at in self._plan.sentinels]
            for at in set(votes) - {None, self._plan.old}:
                if votes.count(at) >= self._plan.majority:
                    promoted = at
            return promoted is not None

        if not await self._until(named, PROMOTE_LIMIT) or promoted is None:
            raise _BackedOutError(f"nobody was promoted within {PROMOTE_LIMIT:.0f} s")
        return promoted

    async def _named(self, sentinel: Address) -> Address | None:
        try:
            async with connected(sentinel, self._target.sentinel) as client:
                ask: Any = client.execute_command
                found = await _limited(
                    ask("SENTINEL GET-MASTER-ADDR-BY-NAME", self._plan.master_name)
                )
        except (RedisError, OSError, TimeoutError):
            return None
        return Address(str(found[0]), int(found[1])) if found else None

    async def _monitored(self, sentinel: Address) -> Address | None:
        """Which primary a Sentinel watches; None where it does not answer."""
        try:
            async with connected(sentinel, self._target.sentinel) as client:
                found: Any = await _limited(client.sentinel_master(self._plan.master_name))
        except (RedisError, OSError, TimeoutError):
            return None
        return Address(str(found["ip"]), int(found["port"]))

    async def _demote(self, old: Redis) -> None:
        new = self._progress.new
        if new is not None:
            ask: Any = old.execute_command
            await _limited(ask("REPLICAOF", new.host, new.port))

    async def _resume(self, old: Redis) -> None:
        """Held writes are refused by a replica, which is better than not knowing: so first this."""
        await self._unpause(old)
        for kind in ("normal", "pubsub"):
            await _limited(old.client_kill_filter(_type=kind, skipme=True))

    async def _verify(self) -> None:
        new = self._progress.new

        async def followed() -> bool:
            for at in {*self._plan.others, self._plan.old} - {new}:
                try:
                    async with connected(at, self._target.redis) as node:
                        info: Any = await _limited(node.info("replication"))
                except (RedisError, OSError, TimeoutError):
                    return False
                source = (info.get("master_host"), info.get("master_port"))
                if source != new or info.get("master_link_status") != "up":
                    return False
            # Sentinels name the new one first and are done with the failover a moment later.
            monitored = [await self._monitored(at) for at in self._plan.sentinels]
            return monitored.count(new) >= self._plan.majority and {*monitored} <= {None, new}

        if not await self._until(followed, VERIFY_LIMIT):
            self._progress.notes.append(
                f"not verified: not everybody follows {new} after {VERIFY_LIMIT:.0f} s; see "
                "aragora-redis doctor"
            )

    async def _until(self, reached: Callable[[], Awaitable[bool]], limit: float) -> bool:
        end = self._clock.monotonic() + limit
        while not await reached():
            if self._clock.monotonic() > end:
                return False
            await asyncio.sleep(LOOK_EVERY)
        return True


def _reason(error: Exception) -> str:
    """What went wrong, and what to do where the login is the reason."""
    if isinstance(error, NoPermissionError):
        return (
            f"{error} (log in as one who may: ARAGORA_REDIS_USERNAME and "
            "ARAGORA_REDIS_SENTINEL_USERNAME, in deploy/redis `operator`)"
        )
    return str(error) or "no answer"


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Have it done even if we are cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _limited(asked: Any) -> Any:
    async with asyncio.timeout(STEP_LIMIT):
        return await asked
