"""Commands to a server: how long one may take, why it failed, and how it is brought to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError

T = TypeVar("T")

STEP_LIMIT = 2.0
"""Seconds for one command."""


def reason(error: Exception) -> str:
    """What went wrong, and what to do where the login is the reason."""
    if isinstance(error, NoPermissionError):
        return (
            f"{error} (log in as one who may: ARAGORA_REDIS_USERNAME and "
            "ARAGORA_REDIS_SENTINEL_USERNAME, in deploy/redis `operator`)"
        )
    return str(error) or "no answer"


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Have it done even if we are cancelled meanwhile, however often; then we are.

    Raises:
        CancelledError: we were cancelled, and it is done.
        Exception: of the work, also where we were cancelled: what became of it matters more.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # Unlike `await task` this leaves it alone when we are cancelled.
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    done = task.result()
    if cancelled is not None:
        raise cancelled
    return done


async def limited(asked: Any) -> Any:
    """The answer to one command.

    Raises:
        TimeoutError: it does not come in time.
    """
    async with asyncio.timeout(STEP_LIMIT):
        return await asked
