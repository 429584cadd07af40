"""Calls that block, away from the loop and from the pool that the application shares."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from .. import native

T = TypeVar("T")


def aside(name: str, call: Callable[[], T]) -> asyncio.Future[T]:
    """Begin a call that blocks, in a thread of its own; what it returns or raises.

    A resolver or an issuer may hang for minutes. So it takes no place in asyncio's pool, which the
    application uses too, and as a daemon it does not keep a process that ends.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: Exception | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type]  # what the call has returned

    def run() -> None:
        value, error = None, None
        try:
            value = call()
        except Exception as caught:  # noqa: BLE001 - whoever waits is told
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, error)

    native.start(run, name)
    return answer
