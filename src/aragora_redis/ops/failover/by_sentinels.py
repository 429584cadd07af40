"""Hand over through the Sentinels, and lose nothing.

The old primary holds writes until a replica has all of them and has been promoted; only as a
replica does it let them go, so that they are refused and never lost. The pause ends by itself, so
that nobody is left paused by a process that was killed: it is short while nothing has happened yet,
and once the Sentinels have been told, as long as they take to demote the old primary themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from ...address import Address
from ..access import connected
from ..commands import STEP_LIMIT, limited, reason, to_the_end
from ..targets import SentinelTarget
from .plan import Plan, first_in_line
from .report import Phase
from .steps import VERIFY_LIMIT, AdriftError, BackedOutError, Steps

SHORT_PAUSE, LONG_PAUSE = 6.0, 30.0
"""Seconds for which writes are held: before the Sentinels were told, and after."""
DRAIN_LIMIT = 4.0
PROMOTE_LIMIT = 20.0
PREFER_LIMIT = 25.0
"""Seconds in which the Sentinels, which ask every ten, have heard of a priority."""
FIRST = 1
"""A priority before all others; 0 would be never."""


class SentinelHandover:
    """One switchover through the Sentinels."""

    def __init__(self, plan: Plan, target: SentinelTarget, steps: Steps) -> None:
        self._plan = plan
        self._target = target
        self._steps = steps
        self._progress = steps.progress
        self._paused_at = 0.0
        self._held_until = 0.0
        self._history = ""
        self._goal = 0
        self._willing = plan.sentinels
        """The Sentinels that would promote the right one; who is told decides alone."""

    async def hand_over(self) -> None:
        """All phases."""
        await self._let_go_of_replicas()
        async with self._preferred(), connected(self._plan.old, self._target.redis) as old:
            try:
                await self._steps.phase(Phase.PAUSE, self._pause(old, SHORT_PAUSE))
                await self._steps.phase(Phase.DRAIN, self._drain(old))
                await self._prolong(old)
            except BaseException as error:
                await to_the_end(self._unpause(old))
                if isinstance(error, RedisError | OSError | TimeoutError):
                    raise BackedOutError(f"{self._plan.old} failed: {reason(error)}") from error
                raise
            # From here on the Sentinels go on, whatever becomes of us.
            await to_the_end(self._take_over(old))

    async def _take_over(self, old: Redis) -> None:
        try:
            await self._steps.phase(Phase.PROMOTE, self._promote())
        except BackedOutError:
            await self._unpause(old)
            raise
        if self._steps.now() > self._held_until - STEP_LIMIT:
            raise AdriftError(
                f"{self._progress.new} was promoted, but only as the pause of {self._plan.old} "
                f"ended: that may have taken writes which {self._progress.new} lacks, so it was "
                "not made a replica"
            )
        await self.finish()

    async def finish(self) -> None:
        """What follows a promotion. `progress.new` is primary."""
        async with connected(self._plan.old, self._target.redis) as old:
            await self._steps.phase(Phase.DEMOTE, self._demote(old))
            await self._steps.phase(Phase.RESUME, self._resume(old))
        await self._steps.phase(Phase.VERIFY, self._verify())

    # --- before the Sentinels are told ---------------------------------------------------

    async def _let_go_of_replicas(self) -> None:
        """One that was made a replica by a switchover that was killed then is still paused.

        Its replication is paused too, so it would never catch up.
        """
        for at in self._plan.others:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with connected(at, self._target.redis) as node:
                    await limited(node.client_unpause())

    @asynccontextmanager
    async def _preferred(self) -> AsyncIterator[None]:
        """Within, the Sentinels would promote the chosen replica; any, where none was chosen."""
        before: dict[Address, int] = {}
        try:
            await self._steps.phase(Phase.PREFER, self._prefer(before))
            yield
        finally:
            await to_the_end(self._restore(before))

    async def _prefer(self, before: dict[Address, int]) -> None:
        chosen = self._plan.new
        try:
            if chosen is not None and len(self._plan.others) > 1:
                await self._set_priorities(chosen, before)
        except (RedisError, OSError, TimeoutError) as error:
            raise BackedOutError(f"priorities cannot be set: {reason(error)}") from error
        await self._steps.until(self._all_are_willing(chosen), PREFER_LIMIT)
        if not self._willing:
            raise BackedOutError(
                f"no Sentinel, asked for {PREFER_LIMIT:.0f} s, would promote "
                f"{chosen or 'a replica'}: SENTINEL REPLICAS {self._plan.master_name} on each "
                "tells flags and priorities as it has them"
            )

    async def _set_priorities(self, chosen: Address, before: dict[Address, int]) -> None:
        given = {at: await self._priority(at) for at in (self._plan.old, *self._plan.others)}
        for at in self._plan.others:
            wanted = FIRST if at == chosen else given[at] and max(given[at], FIRST + 1)
            kept = self._kept(given, chosen) if at == chosen else given[at]
            if wanted != kept:
                before[at] = kept
            if wanted != given[at]:
                async with connected(at, self._target.redis) as node:
                    await limited(node.config_set("replica-priority", wanted))

    async def _priority(self, at: Address) -> int:
        async with connected(at, self._target.redis) as node:
            found: Any = await limited(node.config_get("replica-priority"))
        return int(found["replica-priority"])

    def _kept(self, given: Mapping[Address, int], chosen: Address) -> int:
        """The priority that the chosen replica is to have afterwards.

        FIRST is what a switchover that was killed leaves: then it is what all others have.
        """
        others = {priority for at, priority in given.items() if at != chosen and priority}
        if given[chosen] != FIRST or len(others) != 1:
            return given[chosen]
        (usual,) = others
        if usual != FIRST:
            self._progress.notes.append(
                f"{chosen} had replica-priority {FIRST}, as an interrupted switchover leaves it: "
                f"it was given {usual}, which the others have"
            )
        return usual

    def _all_are_willing(self, chosen: Address | None) -> Callable[[], Awaitable[bool]]:
        """Whether all that answer would promote the chosen one. One that cannot see it, never."""

        async def ready() -> bool:
            asked = [await self._first_in_line(at) for at in self._plan.sentinels]
            answers = dict(zip(self._plan.sentinels, asked, strict=True))
            self._willing = tuple(
                at for at, first in answers.items() if first and (not chosen or first == {chosen})
            )
            return len(self._willing) == len(asked) - asked.count(None)

        return ready

    async def _first_in_line(self, sentinel: Address) -> set[Address] | None:
        """Whom a Sentinel may promote; None where it does not answer."""
        try:
            async with connected(sentinel, self._target.sentinel) as client:
                rows: Any = await limited(client.sentinel_slaves(self._plan.master_name))
        except (RedisError, OSError, TimeoutError):
            return None
        return first_in_line(rows)

    async def _restore(self, before: dict[Address, int]) -> None:
        for at, given in before.items():
            try:
                async with connected(at, self._target.redis) as node:
                    await limited(node.config_set("replica-priority", given))
                    # Sentinels have whom they promote write its file, with our priority in it.
                    with contextlib.suppress(ResponseError):  # it has none
                        await limited(node.config_rewrite())
            except (RedisError, OSError, TimeoutError):
                self._steps.note_unverified(
                    f"{at} may still have another replica-priority than {given}"
                )

    async def _pause(self, old: Redis, seconds: float) -> None:
        now = self._steps.now()
        self._paused_at = self._paused_at or now
        self._held_until = now + seconds
        await limited(old.client_pause(int(seconds * 1000), all=False))

    async def _prolong(self, old: Redis) -> None:
        """Hold writes for as long as the Sentinels may need, if they are certainly held still."""
        if self._steps.now() > self._held_until - STEP_LIMIT / 2:
            raise BackedOutError("the pause was about to end before the replicas had caught up")
        await self._pause(old, LONG_PAUSE)

    async def _unpause(self, old: Redis) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await limited(old.client_unpause())

    async def _drain(self, old: Redis) -> None:
        info: Any = await limited(old.info("replication"))
        self._history, self._goal = info["master_replid"], int(info["master_repl_offset"])
        wanted = [self._plan.new] if self._plan.new else list(self._plan.others)

        async def drained() -> bool:
            seen = [await self._offset(at) for at in wanted]
            return all(offset is not None and offset >= self._goal for offset in seen)

        if not await self._steps.until(drained, DRAIN_LIMIT):
            raise BackedOutError(f"the replicas did not catch up within {DRAIN_LIMIT:.0f} s")
        self._progress.drained = True

    async def _offset(self, at: Address) -> int | None:
        info = await self._replication(at)
        return int(info["slave_repl_offset"]) if info.get("role") == "slave" else None

    # --- and after ---------------------------------------------------------------------------

    async def _promote(self) -> None:
        await self._tell_a_sentinel()
        self._progress.new = promoted = await self._wait_for_promotion()
        self._progress.pause = self._steps.now() - self._paused_at
        await self._require_all(promoted)

    async def _tell_a_sentinel(self) -> None:
        """Have one of them fail over. One that was asked and does not answer may have begun.

        Raises:
            BackedOutError: none has.
        """
        refused = "no Sentinel could be asked"
        for at in self._willing:
            async with connected(at, self._target.sentinel) as sentinel:
                try:
                    await limited(sentinel.ping())
                except (RedisError, OSError, TimeoutError):
                    continue
                try:
                    ask: Any = sentinel.execute_command
                    await limited(ask("SENTINEL FAILOVER", self._plan.master_name))
                except (RedisConnectionError, OSError, TimeoutError):
                    self._progress.notes.append(
                        f"Sentinel {at} has not answered SENTINEL FAILOVER: it may have begun, or "
                        "begin once it goes on"
                    )
                except RedisError as error:
                    if not str(error).startswith("INPROG"):
                        refused = f"Sentinel {at} refuses: {reason(error)}"
                        continue
                return
        raise BackedOutError(refused)

    async def _wait_for_promotion(self) -> Address:
        promoted: Address | None = None

        async def named() -> bool:
            nonlocal promoted
            votes = [await self._named(at) for at in self._plan.sentinels]
            for at in set(votes) - {None, self._plan.old}:
                if votes.count(at) >= self._plan.majority:
                    promoted = at
            return promoted is not None

        await self._steps.until(named, PROMOTE_LIMIT)
        return promoted or await self._promoted_unnamed()

    async def _require_all(self, promoted: Address) -> None:
        """Make sure that it has all that was acknowledged; another than was drained may not.

        Raises:
            AdriftError: it has not, or does not say so while writes are held.
        """
        said: dict[str, Any] = {}

        async def heard() -> bool:
            nonlocal said
            said = await self._replication(promoted)
            return said.get("role") == "master"

        left = self._held_until - 2 * STEP_LIMIT - self._steps.now()
        if not await self._steps.until(heard, max(left, 0.0)):
            raise AdriftError(
                f"the Sentinels have promoted {promoted}, which does not answer as a primary: "
                f"whether it has all that {self._plan.old} has is not known"
            )
        if not self._has_everything(said):
            raise AdriftError(
                f"the Sentinels have promoted {promoted}, which lacks some of what "
                f"{self._plan.old} has: those writes are lost once they demote it"
            )

    async def _promoted_unnamed(self) -> Address:
        """Who was promoted, by their own word, though most Sentinels do not name anybody.

        Raises:
            BackedOutError: nobody, so writes may be let go.
            AdriftError: it cannot be told. What the old primary took now might be lost.
        """
        said = {at: await self._replication(at) for at in self._plan.others}
        primaries = [at for at, info in said.items() if info.get("role") == "master"]
        if len(primaries) == 1 and self._has_everything(said[primaries[0]]):
            return primaries[0]
        why = f"most Sentinels have named nobody within {PROMOTE_LIMIT:.0f} s"
        silent = [str(at) for at, info in said.items() if not info]
        if not primaries and not silent:
            raise BackedOutError(f"{why}, and no replica was promoted")
        if len(primaries) == 1:
            known = f"{primaries[0]} is primary without all that {self._plan.old} has"
        elif primaries:
            known = f"{' and '.join(map(str, primaries))} are primary"
        else:
            known = f"{', '.join(silent)} may have been promoted"
        raise AdriftError(
            f"{why}, and {known}; {self._plan.old} holds writes until its pause of "
            f"{LONG_PAUSE:.0f} s ends"
        )

    def _has_everything(self, info: Mapping[str, Any]) -> bool:
        """Whether a primary goes on from where the replicas had all that was acknowledged.

        One that was started again with no `replicaof` in its file is a primary too, and may be
        empty. `second_repl_offset` is the first offset that it does not have of the history before.
        """
        return (
            info.get("master_replid2") == self._history
            and int(info["second_repl_offset"]) > self._goal
        )

    async def _named(self, sentinel: Address) -> Address | None:
        try:
            async with connected(sentinel, self._target.sentinel) as client:
                ask: Any = client.execute_command
                found = await limited(
                    ask("SENTINEL GET-MASTER-ADDR-BY-NAME", self._plan.master_name)
                )
        except (RedisError, OSError, TimeoutError):
            return None
        return Address(str(found[0]), int(found[1])) if found else None

    async def _replication(self, at: Address) -> dict[str, Any]:
        """What a server says of its replication; nothing where it does not answer."""
        try:
            async with connected(at, self._target.redis) as node:
                info: dict[str, Any] = await limited(node.info("replication"))
        except (RedisError, OSError, TimeoutError):
            return {}
        return info

    async def _monitored(self, sentinel: Address) -> Address | None:
        """Which primary a Sentinel watches; None where it does not answer."""
        try:
            async with connected(sentinel, self._target.sentinel) as client:
                found: Any = await limited(client.sentinel_master(self._plan.master_name))
        except (RedisError, OSError, TimeoutError):
            return None
        return Address(str(found["ip"]), int(found["port"]))

    async def _demote(self, old: Redis) -> None:
        new = self._progress.new
        if new is not None:
            ask: Any = old.execute_command
            await limited(ask("REPLICAOF", new.host, new.port))

    async def _resume(self, old: Redis) -> None:
        """Held writes are refused by a replica, which is better than not knowing: so first this."""
        await self._unpause(old)
        for kind in ("normal", "pubsub"):
            await limited(old.client_kill_filter(_type=kind, skipme=True))

    async def _verify(self) -> None:
        new = self._progress.new

        async def followed() -> bool:
            for at in {*self._plan.others, self._plan.old} - {new}:
                info = await self._replication(at)
                source = (info.get("master_host"), info.get("master_port"))
                if source != new or info.get("master_link_status") != "up":
                    return False
            # Sentinels name the new one first and are done with the failover a moment later.
            monitored = [await self._monitored(at) for at in self._plan.sentinels]
            return monitored.count(new) >= self._plan.majority and {*monitored} <= {None, new}

        if not await self._steps.until(followed, VERIFY_LIMIT):
            self._steps.note_unverified(
                f"not everybody follows {new} after {VERIFY_LIMIT:.0f} s; see aragora-redis doctor"
            )
