"""Wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..clock import SYSTEM_CLOCK

_PAUSE = 0.02, 0.2
"""Seconds between two questions, at least and at most."""
_SHARE = 2.0
"""Pauses take so many times as long as questions: a busy machine is left to who is waited for."""


def wait_until(missing: Callable[[], str], *, seconds: float) -> str:
    """Ask again and again until nothing is missing.

    Returns:
        What was still missing after so many seconds; empty where all came.
    """
    shortest, longest = _PAUSE
    end = SYSTEM_CLOCK.monotonic() + seconds
    while True:
        began = SYSTEM_CLOCK.monotonic()
        lacking = missing()
        now = SYSTEM_CLOCK.monotonic()
        if not lacking or now >= end:
            return lacking
        time.sleep(min(max(_SHARE * (now - began), shortest), longest))
