"""The status as exporters ask for it: from a thread of theirs, while the loop goes on."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import AragoraRedisError
from ..state.status import Status

_ATTEMPTS = 3


def seen(status: Callable[[], Status]) -> Status | None:
    """The status; None where it cannot be told, so that what events say is exported all the same.

    That is a state for threads which is not started, is closed or does not come round; or a loop
    that has changed what the status is made of at each look.

    Raises:
        RuntimeError: it is that of a state for threads, and a coroutine asks.
    """
    for _ in range(_ATTEMPTS):
        try:
            return status()
        except AragoraRedisError:
            return None
        except RuntimeError as error:
            if "during iteration" not in str(error):  # of a dict, a set or a deque
                raise
    return None
