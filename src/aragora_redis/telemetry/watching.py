"""The status as exporters ask for it: from a thread of theirs, while the loop goes on."""

from __future__ import annotations

from collections.abc import Callable

from ..state.status import Status

_ATTEMPTS = 3


def seen(status: Callable[[], Status]) -> Status | None:
    """The status; None where the loop has changed what it is made of at each look.

    Raises:
        RuntimeError: it is that of a state for threads, and a coroutine asks.
    """
    for _ in range(_ATTEMPTS):
        try:
            return status()
        except RuntimeError as error:
            if "during iteration" not in str(error):  # of a dict, a set or a deque
                raise
    return None
