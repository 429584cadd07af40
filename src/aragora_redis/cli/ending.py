"""Ctrl-C, SIGTERM and the end of a terminal, where nothing may be left half done."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless_ended(
    work: Coroutine[Any, Any, T], *, may_end: Callable[[], bool] = lambda: True
) -> T:
    """What comes of it.

    A signal cancels it, however often it comes: what it undoes or brings to its end then is done.

    Args:
        work: what a signal is to end.
        may_end: asked at each signal; where it says no, the work goes on.

    Raises:
        CancelledError: a signal has ended it.
    """
    task = asyncio.ensure_future(work)

    def end() -> None:
        if may_end():
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What nohup has started outlives its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, end)
    return await task
