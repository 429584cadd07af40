"""To await what is mostly there already, without what it costs to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


async def at_once(awaited: Awaitable[T], within: float) -> T:
    """What is awaited. A timer is only set where it has to be waited for.

    Raises:
        TimeoutError: it has not come within so many seconds.
    """
    steps = awaited.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        found: T = done.value
        return found
    async with asyncio.timeout(within):
        return await _Begun(steps, waits_for)


class _Begun(Awaitable[T]):
    """What was awaited by one step, and waits for something now."""

    def __init__(self, steps: Generator[Any, Any, T], waits_for: Any) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._waits_for
        while True:
            try:
                go_on = partial(self._steps.send, (yield waits_for))
            except BaseException as error:  # noqa: BLE001 - it is for what is awaited
                go_on = partial(self._steps.throw, error)
            try:
                waits_for = go_on()
            except StopIteration as done:
                found: T = done.value
                return found
