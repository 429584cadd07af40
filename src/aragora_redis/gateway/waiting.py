"""Requests that wait: each gives its place up when its client goes away, or the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.types import Receive

from ..state.rate_limits.waiting import Waiter


def _receive(request: Request) -> Receive:
    return request.receive


Received = Annotated[Receive, Depends(_receive)]
"""How a request hears from its client once its body has been read."""


@asynccontextmanager
async def waiter_of(receive: Receive, stopping: asyncio.Event) -> AsyncIterator[Waiter]:
    """The waiter of a request, whose body has been read."""
    waiter = Waiter()

    async def give_up_after(end: Callable[[], Awaitable[Any]]) -> None:
        await end()
        waiter.give_up()

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    watches = [asyncio.create_task(give_up_after(end)) for end in (gone, stopping.wait)]
    try:
        yield waiter
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
