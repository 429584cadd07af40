"""Keep the Sentinels of a target from electing anybody while its primary is a replica.

A Sentinel takes a primary that calls itself a replica for one that is gone, after
down-after-milliseconds and two of its rounds of INFO. With a patience of a month it does not.
It is given back only when each Sentinel has heard that its primary is one again: told too early a
Sentinel still remembers the replica, and replaces a primary that has just been given the writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ..access import connected
from ..commands import limited
from ..survey import A_MONTH, address_of
from ..targets import SentinelTarget
from ..waiting import until

HEARD_LIMIT = 30.0
"""Seconds within which a Sentinel, which asks every ten, has heard that its primary is one."""


class GuardError(Exception):
    """A Sentinel cannot be told; what was changed is named in the text."""


async def patience_of(target: SentinelTarget, at: Address) -> int:
    """The down-after-milliseconds of one Sentinel.

    Raises:
        GuardError: it does not answer.
    """
    try:
        async with connected(at, target.sentinel) as sentinel:
            found: Any = await limited(sentinel.sentinel_master(target.master_name))
    except (RedisError, OSError, TimeoutError) as error:
        raise GuardError(f"Sentinel {at} cannot be asked: {error or 'no answer'}") from error
    patience = int(found["down-after-milliseconds"])
    if patience >= A_MONTH:
        raise GuardError(
            f"Sentinel {at} waits a month for its primary, as a migration has it: go on with the "
            f"journal of that one, or SENTINEL SET {target.master_name} down-after-milliseconds"
        )
    return patience


async def set_patience(target: SentinelTarget, wanted: Mapping[Address, int]) -> None:
    """Have each Sentinel wait so many milliseconds for its primary.

    Raises:
        GuardError: one of them refuses, or does not answer.
    """
    for at, milliseconds in wanted.items():
        words = ("SENTINEL SET", target.master_name, "down-after-milliseconds")
        await _ask(target, at, *words, str(milliseconds))


async def forget(
    target: SentinelTarget, whom: Address, run_id: str, at: Sequence[Address], clock: Clock
) -> None:
    """Have the Sentinels forget a replica that takes writes now: they would end that.

    Args:
        target: whose Sentinels.
        whom: as we reach it. They may list it by another address.
        run_id: of its process, by which they know it as well.
        at: the Sentinels.
        clock: for how long it takes.

    Raises:
        GuardError: one of them goes on counting it.
    """
    reset: set[Address] = set()

    async def forgotten() -> bool:
        for sentinel in at:
            rows = await _ask(target, sentinel, "SENTINEL REPLICAS", target.master_name)
            fellows = await _ask(target, sentinel, "SENTINEL SENTINELS", target.master_name)
            counted = any(address_of(row) == whom or row["runid"] == run_id for row in rows)
            # One that it has not heard of itself yet has no run id, and may be the replica.
            unknown = not all(row["runid"] for row in rows)
            # Reset again if need be: its primary may have named the replica for a moment longer.
            if counted or (unknown and sentinel not in reset):
                await _ask(target, sentinel, "SENTINEL RESET", target.master_name)
                reset.add(sentinel)
            if counted or unknown or len(fellows) < len(at) - 1:
                return False
        return True

    if not await until(forgotten, HEARD_LIMIT, clock=clock, every=0.2):
        raise GuardError(
            f"a Sentinel of the target still counts {whom} among the replicas, or one that does "
            "not tell it who it is, and would make it one: "
            f"SENTINEL RESET {target.master_name} on each, and run this again"
        )


async def _ask(target: SentinelTarget, at: Address, *words: str) -> Any:
    try:
        async with connected(at, target.sentinel) as sentinel:
            ask: Any = sentinel.execute_command
            return await limited(ask(*words))
    except (RedisError, OSError, TimeoutError) as error:
        raise GuardError(f"Sentinel {at} cannot be told: {error or 'no answer'}") from error


async def let_go(target: SentinelTarget, former: Mapping[Address, int], clock: Clock) -> list[str]:
    """Give each Sentinel its patience back, once it knows that its primary is one.

    Returns:
        What is left undone, each as a sentence.
    """
    left = await asyncio.gather(
        *(_let_go(target, at, milliseconds, clock) for at, milliseconds in former.items())
    )
    return [each for each in left if each is not None]


async def _let_go(
    target: SentinelTarget, at: Address, milliseconds: int, clock: Clock
) -> str | None:
    async def knows() -> bool:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with connected(at, target.sentinel) as sentinel:
                found: Any = await limited(sentinel.sentinel_master(target.master_name))
                return bool(found["role-reported"] == "master")
        return False

    if await until(knows, HEARD_LIMIT, clock=clock, every=0.2):
        with contextlib.suppress(GuardError):
            await set_patience(target, {at: milliseconds})
            return None
    return (
        f"Sentinel {at} still waits a month for its primary: SENTINEL SET {target.master_name} "
        f"down-after-milliseconds {milliseconds}"
    )
