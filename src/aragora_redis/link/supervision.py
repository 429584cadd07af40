"""Background work that must not end by accident."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds before work that failed begins again."""


async def supervised(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it returns or is cancelled.

    What can go wrong has errors of its own, which `work` handles. Anything else is a fault of ours:
    it is logged with its trace, and the work begins again, because an instance that has silently
    stopped to follow would go on vouching for what it no longer knows.
    """
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - see above
            _log.exception("%s failed unexpectedly and begins again", name)
            await asyncio.sleep(PAUSE)
        else:
            return
