"""Requests that wait: each gives its place up when its client goes away, or the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request

from ..state.waiting import Waiter


@asynccontextmanager
async def waiter_of(request: Request, stopping: asyncio.Event) -> AsyncIterator[Waiter]:
    """The waiter of a request, whose body has been read."""
    waiter = Waiter()

    async def give_up_after(end: Callable[[], Awaitable[Any]]) -> None:
        await end()
        waiter.give_up()

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watches = [asyncio.create_task(give_up_after(end)) for end in (gone, stopping.wait)]
    try:
        yield waiter
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
