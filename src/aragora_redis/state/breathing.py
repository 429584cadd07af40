"""Walks that take long without holding up the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

BREATH = 1000
"""Items after which the loop's other tasks get their turn: about a millisecond."""


async def breathing(items: Iterable[T]) -> AsyncIterator[T]:
    """The same items, with a pause for others after each thousand."""
    for number, item in enumerate(items, 1):
        yield item
        if number % BREATH == 0:
            await asyncio.sleep(0)
