"""What this instance revoked, kept on disk until it expires, so that its own end loses nothing.

Invariant I1 reads "as long as one instance that knows of it, or one disk outbox, survives". Writing
goes on in a thread, in groups, beside the way to Redis; whatever the disk does, a revocation is in
force and is published as without it, and its receipt says `memory`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ..clock import Clock
from ..events import Events, OutboxAdopted, OutboxKept, OutboxTrouble
from ..tokens.entry import DAY, Entry
from .outbox_file import Found, OutboxFile

T = TypeVar("T")

TIDY_EVERY = 60.0
"""Seconds between looks for files of the dead, and for what has expired."""
RETRY_AFTER = 2.0
"""Seconds after which what could not be written is tried again."""
OWED_LIMIT = 65_536
"""Entries that wait for a disk that refuses them; what is older stays in memory alone."""
PIECE = 1000
"""Entries that are written, or taken in, at once: what the disk refuses has cost no more to make
ready, and the loop's other tasks get their turn."""
WRITE_LIMIT, TIDY_LIMIT = 1.0, 5.0
"""Seconds that a piece, and the rest, may take before nobody waits for the disk any more."""
START_LIMIT = 5.0
"""Seconds for which a start waits for what the dead have left."""


class Outbox:
    """Writes what is revoked here, and adopts what instances that died had written.

    Args:
        file: where to.
        clock: for pauses, and for what has expired.
        events: told of trouble and of what was adopted.
        take: given each adopted entry, to be published again.
    """

    def __init__(
        self, file: OutboxFile, clock: Clock, events: Events, take: Callable[[Entry], None]
    ) -> None:
        self._file = file
        self._clock = clock
        self._events = events
        self._take = take
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aragora-outbox")
        self._waiting: list[tuple[Entry, asyncio.Future[bool]]] = []
        self._owed: deque[Entry] = deque(maxlen=OWED_LIMIT)
        self._refused = False
        self._late_at = float("inf")
        self._wake = asyncio.Event()
        self._adopted = asyncio.Event()
        self._day = 0
        self._foreign: set[str] = set()
        self.trouble: str | None = None
        """Why what is revoked now is not on disk."""

    @property
    def adopted(self) -> bool:
        """Whether what the dead had left has been taken in."""
        return self._adopted.is_set()

    async def wait_adopted(self) -> None:
        """Wait until it has been, or for as long as a start may take."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_LIMIT):
                await self._adopted.wait()
        if not self.adopted:
            self._fail("the disk does not answer")
            self._adopted.set()

    def keep(self, entry: Entry) -> asyncio.Future[bool]:
        """Write an entry with the next group; whether it is on disk, once that is known.

        While the disk refuses or hangs that is said at once, and the entry is written later.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._hangs:
            self._refused = True
            self._fail("the disk does not answer")
        if self._refused:
            self._owed.append(entry)
            future.set_result(False)
        else:
            self._waiting.append((entry, future))
            self._wake.set()
        return future

    @property
    def _hangs(self) -> bool:
        return self._clock.monotonic() > self._late_at or len(self._waiting) >= OWED_LIMIT

    async def run(self) -> None:
        """Adopt, and then write until cancelled."""
        await self._tidy()
        due = self._clock.monotonic() + TIDY_EVERY
        while True:
            if not self._waiting:
                left = max(due - self._clock.monotonic(), 0.01)
                await self._pause(min(left, RETRY_AFTER) if self._refused else left)
            await self._flush()
            if self._clock.monotonic() >= due:
                await self._tidy()
                due = self._clock.monotonic() + TIDY_EVERY

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        await self._flush()
        with contextlib.suppress(RuntimeError):
            await self._in_thread(self._file.close)
        self._thread.shutdown(wait=False)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _flush(self) -> None:
        self._wake.clear()
        group, self._waiting = self._waiting, []
        owed, self._owed = self._owed, deque(maxlen=OWED_LIMIT)
        entries = [*owed, *(entry for entry, _ in group)]
        if not entries:
            return
        written = 0
        try:
            while written < len(entries):
                piece = entries[written : written + PIECE]
                await self._in_thread(partial(self._file.append, piece), WRITE_LIMIT)
                written += PIECE
        except OSError as error:
            self._owed = deque([*entries[written:], *self._owed], OWED_LIMIT)
            self._fail(error.strerror or str(error))
        except asyncio.CancelledError:
            self._waiting = group + self._waiting  # written twice, it is one entry all the same
            self._owed = deque([*owed, *self._owed], OWED_LIMIT)
            raise
        self._refused = bool(self._owed)
        if self.trouble is not None and not self._refused:
            self.trouble = None
            self._events.emit(OutboxKept())
        for _, future in group:
            if not future.done():
                future.set_result(written >= len(entries))

    async def _tidy(self) -> None:
        today = int(self._clock.wall() // DAY)
        try:
            if self.adopted and (today != self._day or self.trouble is not None):
                await self._in_thread(self._file.compact)
                self._day = today
            await self._admit(await self._in_thread(self._file.adopt))
        except OSError as error:
            self._fail(error.strerror or str(error))
        self._adopted.set()

    async def _admit(self, found: Found) -> None:
        for number, entry in enumerate(found.entries, 1):
            self._take(entry)
            if number % PIECE == 0:
                await asyncio.sleep(0)
        for reason in found.unread:
            self._fail(reason)
        strange = [reason for reason in found.foreign if reason not in self._foreign]
        self._foreign.update(strange)
        if found.files or strange:
            self._events.emit(
                OutboxAdopted(found.files, len(found.entries), found.damaged, tuple(strange))
            )

    def _fail(self, reason: str) -> None:
        if reason != self.trouble:
            self.trouble = reason
            self._events.emit(OutboxTrouble(reason))

    async def _in_thread(self, work: Callable[[], T], limit: float = TIDY_LIMIT) -> T:
        self._late_at = self._clock.monotonic() + limit
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._late_at = float("inf")
