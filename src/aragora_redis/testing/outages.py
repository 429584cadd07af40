"""Redis is away, as a state in memory sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..errors import AragoraRedisError, LinkDownError
from ..state.shared import SharedState


@asynccontextmanager
async def outage(state: SharedState, error: AragoraRedisError | None = None) -> AsyncIterator[None]:
    """Let nothing reach the data for as long as the context lasts.

    Limits go by their outage policy, sessions by copies of the last seconds, circuits by what this
    instance has seen, revocations by what it knows: as without Redis.

    Args:
        state: one of `memory_state`.
        error: what calls meet; by default that there is no connection.

    Raises:
        TypeError: the state has a Redis of its own, which can be killed: see `aragora_redis.lab`.
    """
    executor = state.embedded
    if executor is None:
        raise TypeError("the state is not in memory")
    executor.outage = error or LinkDownError("there is no usable connection to Redis: a test")
    try:
        yield
    finally:
        executor.outage = None
        await state.rate_limits.settle_debts()
