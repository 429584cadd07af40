"""How many checks of a rate limit this machine gets out of a Redis."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from msgspec.structs import replace

from ..clock import Clock
from ..errors import LinkDownError, OutageError, OutcomeUnknownError
from ..events import Events
from ..link.reach import Reach, reach
from ..operation import Kind, Operation
from ..rate_limit.gcra import Source
from ..rate_limit.operations import reset_channel
from ..rate_limit.policy import LimitPolicy
from ..rate_limit.share import FleetSize
from ..settings import Settings
from ..state.life import Life
from ..state.rate_limits.decider import Decider
from ..state.rate_limits.rate_limits import RateLimits
from ..state.service import Service

REACH_LIMIT = 5.0
"""Seconds within which the primary must be reached."""
SUBJECTS = 1_000
NAME = "bench"
PLENTY = LimitPolicy(NAME, count=1_000_000, period_us=1_000_000, burst=1_000_000)
"""It refuses nobody, and its buckets are full again, and so gone, after a second or two."""


@dataclass(frozen=True, slots=True)
class Load:
    """What so many callers got, each of whom asks again when it was answered.

    Attributes:
        calls: that Redis decided.
        failed: that it did not, within the deadline.
        seconds: that all of it took.
        median: seconds of a call.
        p99: seconds that one call in a hundred took longer than.
    """

    callers: int
    calls: int
    failed: int
    seconds: float
    median: float
    p99: float

    @property
    def rate(self) -> float:
        """Decisions a second."""
        return self.calls / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "callers": self.callers,
            "calls": self.calls,
            "failed": self.failed,
            "per_second": round(self.rate, 1),
            "median_ms": round(self.median * 1e3, 3),
            "p99_ms": round(self.p99 * 1e3, 3),
        }


def load_of(callers: int, each: Sequence[float], failed: int, seconds: float) -> Load:
    """The figures of calls that took so many seconds each."""
    ordered = sorted(each) or [0.0]
    median, p99 = (ordered[ceil(len(ordered) * part) - 1] for part in (0.5, 0.99))
    return Load(callers, len(each), failed, seconds, median, p99)


def keyspace(settings: Settings) -> str:
    """The prefix of all keys that a run writes: below that of the services, and never theirs."""
    return f"{settings.prefix}:{NAME}"


async def bench(
    settings: Settings, callers: Sequence[int], *, seconds: float, clock: Clock
) -> AsyncIterator[Load]:
    """Ask as fast as can be, so many seconds for each number of callers.

    Raises:
        OutageError: the primary cannot be reached, or written.
    """
    settings = replace(settings, prefix=keyspace(settings))
    events = Events()
    way = reach(settings, clock=clock, events=events, prepares=True)
    way.start()
    try:
        try:
            await way.ready(clock.monotonic() + REACH_LIMIT)
        except LinkDownError as error:
            raise LinkDownError(
                error.message,
                remedy=f"{error.remedy}; `aragora-redis doctor` says what is wrong; "
                "nothing was done",
            ) from error
        await way.executor.run(_expiry(settings, seconds * len(callers)), within=REACH_LIMIT)
        limits = _limits(settings, way, clock, events)
        for count in callers:
            yield await _ask(limits, count, seconds, clock)
    finally:
        await way.close()


def _expiry(settings: Settings, seconds: float) -> Operation[None]:
    """Have what marks the data set as ours expire too, however the run ends."""
    key = f"{settings.prefix}:layout".encode()
    return Operation(
        kind=Kind.JOIN,
        keys=(key,),
        args=("EXPIRE", key, ceil(seconds + REACH_LIMIT)),
        read=lambda _: None,
    )


def _limits(settings: Settings, way: Reach, clock: Clock, events: Events) -> RateLimits:
    return RateLimits(
        {NAME: PLENTY},
        decider=Decider(
            life=Life(begun=True),
            executor=way.executor,
            across_slots=lambda: way.across_slots,
            source=Source.REDIS,
            clock=clock,
            service=Service(clock, events),
            fleet=FleetSize(expected=1),
            own=secrets.token_hex(8),
            prefix=settings.prefix,
            digest_key=settings.digest_key.reveal_bytes(),
            channel=reset_channel(settings.prefix),
            fail_open=False,
            deadline=settings.deadline,
            server_now=clock.wall,
        ),
        events=events,
    )


async def _ask(limits: RateLimits, callers: int, seconds: float, clock: Clock) -> Load:
    numbers, each, failed = itertools.count(), list[float](), itertools.count()
    began = clock.monotonic()
    end = began + seconds

    async def call() -> None:
        asked = clock.monotonic()
        while asked < end:
            try:
                await limits.check(NAME, f"caller:{next(numbers) % SUBJECTS}")
            except (OutageError, OutcomeUnknownError):
                next(failed)
                await asyncio.sleep(0)  # it may have failed at once
            else:
                each.append(clock.monotonic() - asked)
            asked = clock.monotonic()

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return load_of(callers, each, next(failed), clock.monotonic() - began)
