"""Wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..clock import SYSTEM_CLOCK

_PAUSE = 0.02


def wait_until(missing: Callable[[], str], *, seconds: float) -> str:
    """Ask again and again until nothing is missing.

    Returns:
        What was still missing after so many seconds; empty where all came.
    """
    end = SYSTEM_CLOCK.monotonic() + seconds
    while (lacking := missing()) and SYSTEM_CLOCK.monotonic() < end:
        time.sleep(_PAUSE)
    return lacking
