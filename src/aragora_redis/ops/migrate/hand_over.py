"""Move writes from one server to another that replicates it, and lose nothing.

Whoever gives up the writes is made a replica before the other is promoted: a run that is killed in
between leaves nobody who takes writes, and never two. It is a replica of nobody at first, and of
the other one once that has been promoted: one that was killed meanwhile, and comes back as a
primary that lacks the last writes, would take them away from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ...clock import Clock
from ..commands import limited, reason, to_the_end
from ..waiting import until
from .replication import (
    NOBODY,
    Goal,
    MoveError,
    Server,
    follow,
    follow_the_promoted,
    promote,
    remember,
    role_of,
)

SHORT_PAUSE, LONG_PAUSE = 6.0, 30.0
"""Seconds for which writes are held: until the other has everything, and from then on."""
DRAIN_LIMIT = 4.0
LOOK_EVERY = 0.01


async def hand_over(
    giver: Server,
    taker: Server,
    fellows: Sequence[Server],
    clock: Clock,
    on_goal: Callable[[Goal], None],
) -> float:
    """Have the one that replicates the other take the writes, and the other replicate it.

    Args:
        giver: takes the writes until now.
        taker: is to take them.
        fellows: who replicates the taker, and must have everything as well.
        clock: for how long it takes.
        on_goal: told how much the giver has, before it gives the writes up.

    Returns:
        Seconds for which nobody took writes.

    Raises:
        MoveError: it says where writes are taken now.
    """
    began = clock.monotonic()
    async with giver.open() as client:
        try:
            await limited(client.client_pause(int(SHORT_PAUSE * 1000), all=False))
            role = await role_of(giver)
            await _caught_up((taker, *fellows), role.offset, clock, began)
            await limited(client.client_pause(int(LONG_PAUSE * 1000), all=False))
            on_goal((role.histories[0], role.offset))
        except BaseException as error:
            await to_the_end(_unpause(client))
            if isinstance(error, MoveError | RedisError | OSError | TimeoutError):
                raise MoveError(
                    f"{reason(error)}; {giver.address} goes on taking writes"
                ) from error
            raise
        # Cancelled now, nobody would take writes.
        return await to_the_end(_exchange(client, giver, taker, began, clock))


async def _exchange(
    client: Redis, giver: Server, taker: Server, began: float, clock: Clock
) -> float:
    try:
        await follow(giver, taker, promotable=False, at=NOBODY)
    except MoveError as error:
        await _unpause(client)
        unless = "it goes on taking writes, unless it was told after all: run this again"
        raise MoveError(f"{error}; {unless}") from error
    # Started again from now on it takes no writes either.
    await remember(giver)
    await promote(taker, instead_of=giver)
    took = clock.monotonic() - began
    await follow_the_promoted(giver, taker)
    # Held writes are refused by a replica, which is better than not knowing.
    await _unpause(client)
    return took


async def _caught_up(servers: Sequence[Server], goal: int, clock: Clock, began: float) -> None:
    """Wait until these have everything, while the writes that were held at `began` still are."""

    async def have_all() -> bool:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            return all([await _has(each, goal) for each in servers])
        return False

    if not await until(have_all, DRAIN_LIMIT, clock=clock, every=LOOK_EVERY):
        raise MoveError(f"{servers[0].address} and its replicas did not catch up in time")
    if clock.monotonic() - began > SHORT_PAUSE - 1:
        raise MoveError("the pause was about to end before everything had arrived")


async def _unpause(client: Redis) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await limited(client.client_unpause())


async def _has(server: Server, goal: int) -> bool:
    role = await role_of(server)
    return role.linked and role.offset >= goal
