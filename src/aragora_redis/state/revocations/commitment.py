"""A join that is carried to the primary, and to its replicas, within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ...clock import Clock
from ...errors import AragoraRedisError, OverloadedError
from ...tokens import operations
from ...tokens.entry import Entry
from ...tokens.operations import ShardKeys
from ...tokens.shard import Shard
from .receipt import Level, Receipt

if TYPE_CHECKING:
    from ...link.executor import Executor

RETRY_AFTER = 0.05
"""Seconds between attempts while Redis refuses."""


class RedisSide(Struct, frozen=True):
    """What revocations need of a Redis: absent in the in-process mode."""

    executor: Executor
    required: Callable[[int | None], int]
    """How many replicas must acknowledge what is written to a slot."""
    ready: Callable[[], bool]
    staleness: Callable[[Collection[int]], float]
    """How old the revocations of some shards are, in seconds."""
    nonce: bytes
    keys: list[ShardKeys]
    wake: Callable[[], None]
    replicating: bool
    """Whether there are Sentinels, whose word makes an acknowledgement count."""


async def commit(
    redis: RedisSide,
    clock: Clock,
    shard: Shard,
    entries: Sequence[Entry],
    wanted: Level,
    *,
    until: float,
) -> Receipt:
    """Join until the primary has it, then wait for the replicas; both until `until` (monotonic).

    A primary whose clock calls an entry over, where ours does not, has not got it: LOCAL.

    `entries` are of one shard, and no more than one call may carry.
    """
    join = operations.join(redis.keys[shard.index], entries, nonce=redis.nonce, durable=True)
    while await redis.executor.usable(join, until):
        try:
            ticket = redis.executor.submit(
                join,
                until,
                fsync=wanted is Level.FSYNCED,
                accepted=lambda joined: not joined.refused(entries, clock.wall()),
            )
        except OverloadedError:
            break  # the feed publishes many in one call
        joined = await before(ticket.primary, until, clock) if ticket is not None else None
        if ticket is None or joined is None:
            await asyncio.sleep(RETRY_AFTER)
            continue
        if joined.refused(entries, clock.wall()):
            break  # they stay owed, and the feed tries them again
        shard.confirmed(joined.position, entries, own=True)
        required = redis.required(join.slot)
        acknowledged = None
        if wanted >= Level.REPLICATED and required:
            acknowledged = await before(ticket.replicated, until, clock)
        level = Level.PRIMARY if acknowledged is None else Level.REPLICATED
        # Where nobody vouches for replicas, the disk of the one server is all that counts.
        counts = acknowledged is not None or not redis.replicating
        if wanted is Level.FSYNCED and counts:
            synced = await before(ticket.fsynced, until, clock)
            level = level if synced is None else Level.FSYNCED
        return Receipt(
            level,
            wanted,
            acknowledged=acknowledged or 0,
            required=required,
            position=joined.position,
        )
    redis.wake()
    return Receipt(Level.LOCAL, wanted)


async def before(future: asyncio.Future[Any], until: float, clock: Clock) -> Any:
    """The result, or None where it failed or did not come in time."""
    try:
        async with asyncio.timeout(max(until - clock.monotonic(), 0)):
            return await future
    except (TimeoutError, AragoraRedisError):
        return None
