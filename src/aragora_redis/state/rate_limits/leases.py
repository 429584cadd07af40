"""Leases: tokens of a hot limit that this instance takes at once, and gives away without asking.

A lease is never more than what was in the bucket, and the bucket fills no further than the burst
less what is leased, so the fleet as a whole stays within its limit. What is not used comes back
after two seconds, or when the instance ends; who dies with a lease has used it. Only where a
failover loses the tail of history are leases that were granted in it given away twice.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from msgspec.structs import replace

from ... import native
from ...errors import AragoraRedisError, DeadlineError
from ...rate_limit import operations
from ...rate_limit.gcra import Decision, Source
from ...rate_limit.local import LocalLimiter, Record
from ...rate_limit.reservation import new_name
from .decider import UNDECIDED, Decider

USED_FOR: Final = 2.0
"""Seconds for which a lease is given away."""
HELD_FOR: Final = 3.0
"""Seconds after which Redis counts it as used: what is left has come back by then."""
SWEEP_EVERY: Final = 0.25


class _Lease:
    """Tokens at hand. Any thread may take some."""

    def __init__(self, granted: int, name: str, until: float, told: Decision) -> None:
        self.name = name
        self.until = until
        self._told = replace(told, source=Source.LEASE)
        self._granted = self._left = granted
        self._lock = native.lock()

    def take(self, cost: int, now: float) -> Decision | None:
        """Give some away, if they are there."""
        with self._lock:
            if now >= self.until or self._left < cost:
                return None
            self._left -= cost
            left = self._left
        told = self._told
        return replace(told, remaining=told.remaining + left)

    def end(self) -> tuple[int, int]:
        """Give nothing away any more; how many tokens were, and how many are left."""
        with self._lock:
            left, self._left = self._left, 0
        return self._granted - left, left


class Leases:
    """The leases of this instance, one a subject."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._leases: dict[bytes, tuple[LocalLimiter, _Lease]] = {}
        self._fetching: dict[bytes, asyncio.Task[Decision | None]] = {}
        self._recalled: set[bytes] = set()
        self._wake = asyncio.Event()

    def take(self, record: Record, cost: int) -> Decision | None:
        """Give tokens away that are at hand. Any thread may ask."""
        found = self._leases.get(record.key)
        return found[1].take(cost, self._decider.now) if found is not None else None

    async def check(self, limiter: LocalLimiter, record: Record, cost: int) -> Decision:
        """Decide a check of a limit that is leased.

        Raises:
            InvalidInputError: no bucket of the limit in force could pay it.
            LimitUnavailableError: the policy is fail-closed and Redis cannot be asked.
        """
        decider, policy = self._decider, limiter.policy
        until = decider.now + decider.deadline
        halfway = until - decider.deadline / 2
        while True:
            known = self.take(record, cost)
            known = known or decider.recent_denial(limiter, record, cost, policy)
            if known is not None:
                return known
            if decider.now > halfway:
                break  # what is left is for asking
            fetching = self._fetched(limiter, record, cost)
            await asyncio.wait({fetching}, timeout=until - decider.now)
            try:
                refused = _arrived(fetching)
            except UNDECIDED as error:
                return decider.undecided(limiter, record, cost, policy, error)
            if refused is not None:
                denial = decider.recent_denial(limiter, record, cost, policy)
                if denial is None:
                    break
                return replace(denial, source=refused.source)
        # Others were quicker each time, or the limit is another by now: it is asked as any is.
        left = max(until - decider.now, 0.0)
        return await decider.ask(limiter, record, cost, policy, within=left)

    def recall(self, key: bytes, *, gone: bool) -> None:
        """Give no more away to a subject whose limit has changed.

        Args:
            key: of its bucket.
            gone: Redis knows of no lease any more.
        """
        if gone and key in self._fetching:
            self._recalled.add(key)
        found = self._leases.get(key)
        if found is None:
            return
        found[1].until = 0.0
        if gone:
            del self._leases[key]

    async def run(self) -> None:
        """Bring back what is not used, until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(SWEEP_EVERY)
            now = self._decider.now
            await self._return([key for key, (_, one) in self._leases.items() if now >= one.until])
            if not self._leases:
                self._wake.clear()

    async def finish(self) -> None:
        """Bring back everything, at the end; what is still being fetched too."""
        while self._fetching or self._leases:
            if self._fetching:
                await asyncio.wait(self._fetching.values())
            await self._return([*self._leases])

    def _fetched(
        self, limiter: LocalLimiter, record: Record, cost: int
    ) -> asyncio.Task[Decision | None]:
        """The lease that is being fetched: one at a time for a subject, whoever waits for it."""
        task = self._fetching.get(record.key)
        if task is None:
            task = asyncio.create_task(self._fetch(limiter, record, cost))
            self._fetching[record.key] = task
            task.add_done_callback(partial(self._done, record.key))
        return task

    def _done(self, key: bytes, task: asyncio.Task[Decision | None]) -> None:
        self._fetching.pop(key, None)
        self._recalled.discard(key)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; perhaps nobody does any more

    async def _fetch(self, limiter: LocalLimiter, record: Record, least: int) -> Decision | None:
        """Fetch a lease of at least so many tokens; None if there is one now, else the refusal."""
        decider, asked, name = self._decider, limiter.policy, new_name()
        ended, used = self._end(record.key)
        shares = max(decider.fleet.size or 1, 1)
        wanted = operations.Lease(
            least, max(asked.lease, least), shares, name, HELD_FOR, ended, used
        )
        sent_at = decider.now
        try:
            grant = await decider.run(operations.lease(asked, record.key, wanted))
        except UNDECIDED as error:
            decider.service.failed(error)
            raise
        told = decider.heard(limiter, record, least, asked, grant.answer)
        if grant.tokens <= 0:
            return (
                told  # perhaps for a cost that no bucket pays, which is that caller's error alone
            )
        decider.service.answered()
        # Granted before a reset it is none any more; after it, it is brought back.
        until = 0.0 if record.key in self._recalled else sent_at + USED_FOR
        self._recalled.discard(record.key)
        self._leases[record.key] = limiter, _Lease(grant.tokens, name, until, told)
        self._wake.set()
        return None

    def _end(self, key: bytes) -> tuple[str, int]:
        found = self._leases.pop(key, None)
        if found is None:
            return "", 0
        used, _ = found[1].end()
        return found[1].name, used

    async def _return(self, keys: list[bytes]) -> None:
        await asyncio.gather(*(self._return_one(key) for key in keys))

    async def _return_one(self, key: bytes) -> None:
        found = self._leases.pop(key, None)
        if found is None:
            return  # a reset or a fetch has ended it
        limiter, lease = found
        used, left = lease.end()
        if not left:
            return
        back = operations.Lease(0, 0, 1, "", HELD_FOR, lease.name, used)
        try:
            await self._decider.run(operations.lease(limiter.policy, key, back))
        except AragoraRedisError:
            return  # it counts as used, in a moment


def _arrived(fetching: asyncio.Task[Decision | None]) -> Decision | None:
    if not fetching.done():
        raise DeadlineError("the deadline passed before a lease came")
    return fetching.result()
