"""Where acts by hand are recorded: a stream in Redis, or a list of this process."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from ...audit.act import Act
from ...audit.operations import KEPT, earlier, later, record, valid_place
from ...audit.page import Gathered, Page, Record
from ...errors import OutcomeUnknownError
from ...operation import Lane, Operation, Runs

ASK_LIMIT = 1.0
"""Seconds that one question may take."""
CHUNK = 100
"""Records that are read at once: they hold up the loop for about a millisecond."""
OVERLAP = 256
"""Records that are looked at for an act that was recorded before."""
KEPT_HERE = 1_000
"""Records that a process keeps which has no Redis."""


class AuditLog(Protocol):
    """What records acts, and tells them."""

    async def append(self, act: Act, *, within: float) -> None:
        """Record an act.

        Raises:
            OutageError, OutcomeUnknownError: it is not certain that it is recorded; do it again.
        """

    async def recent(
        self, limit: int, *, before: str | None, actor: str | None, target: str | None
    ) -> Page:
        """Up to `limit` acts, the newest first; see `Audit.recent`."""


class RedisAuditLog:
    """The stream that the fleet shares.

    Args:
        runs: the way to Redis.
    """

    def __init__(self, runs: Runs, prefix: str) -> None:
        self._runs = runs
        self._prefix = prefix

    async def append(self, act: Act, *, within: float) -> None:
        """See `AuditLog.append`."""
        # On no connection whose WAIT would hold it up, or that a revocation waits for.
        recording = record(self._prefix, act, Lane.BULK)
        try:
            await self._runs.run(recording, within=within)
        except OutcomeUnknownError:
            # A slow server would be given a copy with each attempt, and old records make room.
            last = await self._ask(earlier(self._prefix, None, OVERLAP))
            if act.id not in {each.id for _, each in last}:
                raise

    async def recent(
        self,
        limit: int,
        *,
        before: str | None = None,
        actor: str | None = None,
        target: str | None = None,
    ) -> Page:
        """See `AuditLog.recent`."""
        told: set[str] = set()
        if before is not None:
            newer = later(self._prefix, before, OVERLAP)
            told.update(act.id for _, act in await self._ask(newer))
        gathered = Gathered(limit, actor, target, told)
        everything = actor is not None or target is not None
        count = CHUNK if everything else min(2 * limit, CHUNK)
        for _ in range(2 * KEPT // count + 1):
            records = await self._ask(earlier(self._prefix, before, count))
            page = gathered.take(records)
            if page is not None:
                return page
            if len(records) < count:
                return gathered.page()
            before = records[-1].place
        return gathered.page(before)

    async def _ask(self, reading: Operation[list[Record]]) -> list[Record]:
        return await self._runs.run(reading, within=ASK_LIMIT)


class MemoryAuditLog:
    """The last acts of this process, where it is all there is."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=KEPT_HERE)
        self._count = 0

    async def append(self, act: Act, *, within: float) -> None:  # noqa: ARG002 - nothing takes time here
        """See `AuditLog.append`."""
        self._count += 1
        self._records.append(Record(f"{self._count}-0", act))

    async def recent(
        self, limit: int, *, before: str | None, actor: str | None, target: str | None
    ) -> Page:
        """See `AuditLog.recent`."""
        until = float("inf") if before is None else _number(valid_place(before))
        gathered = Gathered(limit, actor, target)
        older = (each for each in reversed(self._records) if _number(each.place) < until)
        return gathered.take(older) or gathered.page()


def _number(place: str) -> int:
    return int(place.partition("-")[0])
