"""Wait until something is so, and no longer than is said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..clock import Clock


async def until(
    reached: Callable[[], Awaitable[bool]], limit: float, *, clock: Clock, every: float
) -> bool:
    """Whether it came about within `limit` seconds, looking each `every` seconds."""
    end = clock.monotonic() + limit
    while not await reached():
        if clock.monotonic() > end:
            return False
        await asyncio.sleep(every)
    return True
