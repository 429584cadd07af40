"""Requests that wait: each gives its place up when its client goes away, or the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.types import Receive

from ..errors import AragoraRedisError
from ..state.rate_limits.waiting import Waiter

T = TypeVar("T")


def _receive(request: Request) -> Receive:
    return request.receive


Received = Annotated[Receive, Depends(_receive)]
"""How a request hears from its client once its body has been read."""


async def _gone(receive: Receive) -> None:
    """The client of a request, whose body has been read, has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(
    receive: Receive, work: Coroutine[Any, Any, T], *, undo: Callable[[T], None]
) -> T | None:
    """What `work` comes to; None where the client goes away before, and then it is given up.

    Args:
        receive: hears from the client, whose request has been read.
        work: cleans up after itself where it is cancelled.
        undo: gives back what it came to all the same, for nobody.
    """
    doing, watch = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait((doing, watch), return_when=asyncio.FIRST_COMPLETED)
        if not watch.done():
            return await doing
        doing.cancel()
        with suppress(asyncio.CancelledError, AragoraRedisError):
            undo(await doing)
        return None
    finally:
        doing.cancel()
        watch.cancel()


@asynccontextmanager
async def waiter_of(receive: Receive, stopping: asyncio.Event) -> AsyncIterator[Waiter]:
    """The waiter of a request, whose body has been read."""
    waiter = Waiter()

    async def give_up_after(end: Callable[[], Awaitable[Any]]) -> None:
        await end()
        waiter.give_up()

    ends = (partial(_gone, receive), stopping.wait)
    watches = [asyncio.create_task(give_up_after(end)) for end in ends]
    try:
        yield waiter
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
