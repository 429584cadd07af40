"""Ctrl-C, SIGTERM and the end of a terminal, where nothing may be left half done."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless_ended(work: Coroutine[Any, Any, T]) -> T:
    """What comes of it.

    A signal cancels it, however often it comes: what it undoes or brings to its end then is done.

    Raises:
        CancelledError: a signal has ended it.
    """
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What nohup has started outlives its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
