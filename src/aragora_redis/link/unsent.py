"""Operations that wait to be sent, within bounds; those that need a proof first wait apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..errors import AragoraRedisError, OverloadedError
from ..operation import Fence
from .batch import Pending, fail

QUEUE_LIMIT = 4096
"""Operations that may wait to be sent."""
QUEUE_BYTES = 8 * 1024 * 1024


class Unsent:
    """What waits on one lane. Its length is that of what may be sent now."""

    def __init__(self) -> None:
        self._queue: deque[Pending] = deque()
        self._fenced: deque[Pending] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Pending]:
        return iter((*self._queue, *self._fenced))

    def add(self, pending: Pending, *, fenced: bool = False) -> None:
        """Queue it behind the others, or keep it until `unfence`.

        Raises:
            OverloadedError: it would wait beyond the bounds; nothing was queued.
        """
        waiting = len(self._queue) + len(self._fenced)
        if waiting >= QUEUE_LIMIT or self._bytes + pending.operation.size > QUEUE_BYTES:
            raise OverloadedError("the queue to Redis is full", remedy="slow down, or add capacity")
        (self._fenced if fenced else self._queue).append(pending)
        self._bytes += pending.operation.size

    def fence(self) -> bool:
        """Keep back what is to be fenced and was queued before there was a doubt; whether any was.

        It stays before what came later.
        """
        kept = [each for each in self._queue if each.operation.fence is Fence.PROBE]
        if kept:
            self._queue = deque(
                each for each in self._queue if each.operation.fence is not Fence.PROBE
            )
            self._fenced.extendleft(reversed(kept))
        return bool(kept)

    def unfence(self) -> None:
        """Queue what was kept: the primary has proved itself."""
        self._queue += self._fenced
        self._fenced.clear()

    def take(self, most: int) -> list[Pending]:
        """The next to send; what was cancelled or timed out is left out, and does not run."""
        taken: list[Pending] = []
        while self._queue and len(taken) < most:
            pending = self._queue.popleft()
            self._bytes -= pending.operation.size
            if not pending.future.done():
                taken.append(pending)
        return taken

    def fail(self, error: AragoraRedisError) -> None:
        """Tell all who wait that theirs does not run."""
        unsent = list(self)
        self._queue.clear()
        self._fenced.clear()
        self._bytes = 0
        for pending in unsent:
            fail(pending, error)
