"""What this instance revoked, kept on disk until it expires, so that its own end loses nothing.

Invariant I1 reads "as long as one instance that knows of it, or one disk outbox, survives". Writing
goes on in a thread, in groups, beside the way to Redis; whatever the disk does, a revocation is in
force and is published as without it, and its receipt says `memory`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeVar

from ... import native
from ...clock import Clock
from ...events import DiskTrouble, Events, OutboxAdopted, OutboxKept, OutboxTrouble
from ...tokens.entry import Entry
from ..status import OnDisk
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
"""Seconds without an answer, to a piece and to the rest, before nobody waits for the disk."""
START_LIMIT = 5.0
"""Seconds without an answer of the disk after which a start goes on without what the dead left."""
_HUNG = OutboxTrouble("the disk does not answer", "hung")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Owed(NamedTuple):
    entry: Entry
    since: float
    """Monotonic seconds."""


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
        self._thread = native.Executor(1)
        self._waiting: list[tuple[_Owed, asyncio.Future[bool]]] = []
        self._writing: list[_Owed] = []
        self._owed: deque[_Owed] = deque(maxlen=OWED_LIMIT)
        self._dropped = 0
        self._refused = False
        self._hangs = False
        self._late: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._adopted = asyncio.Event()
        self._foreign: set[str] = set()
        self._unwritten: OutboxTrouble | None = None
        self._unread: OutboxTrouble | None = None
        self.trouble: OutboxTrouble | None = None
        """What keeps revocations from disk, or those of the dead from being taken in."""

    @property
    def adopted(self) -> bool:
        """Whether what the dead had left has been taken in."""
        return self._adopted.is_set()

    @property
    def on_disk(self) -> OnDisk:
        """What is on disk, and what is not yet."""
        since = next((each.since for each in self._unkept()), None)
        return OnDisk(
            entries=self._file.entries,
            size=self._file.size,
            waiting=len(self._writing) + len(self._owed) + len(self._waiting),
            delay=0.0 if since is None else self._clock.monotonic() - since,
            trouble=self.trouble.kind if self.trouble is not None else None,
        )

    def _unkept(self) -> Iterator[_Owed]:
        return chain(self._writing, self._owed, (owed for owed, _ in self._waiting))

    async def wait_adopted(self) -> None:
        """Wait until it has been, or until the disk has not answered for as long as a start may."""
        while not self.adopted:
            steps = self._file.steps
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_LIMIT):
                    await self._adopted.wait()
            if not self.adopted and self._file.steps == steps:
                self._fail(_HUNG)
                self._adopted.set()

    def keep(self, entry: Entry) -> asyncio.Future[bool]:
        """Write an entry with the next group; whether it is on disk, once that is known.

        While the disk refuses or hangs that is said at once, and the entry is written later.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        owed = _Owed(entry, self._clock.monotonic())
        if self._hangs or len(self._waiting) >= OWED_LIMIT:
            self._refused = True
            self._fail(_HUNG)
        if self._refused:
            self._owe(owed)
            future.set_result(False)
        else:
            self._waiting.append((owed, future))
            self._wake.set()
        return future

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
        """Write what waits, and let go of the file, also where that could not be written."""
        try:
            await self._flush()
        finally:
            # Behind what the disk has not answered yet; who is cancelled does not wait for that.
            closed = self._thread.submit(self._file.close)
        await asyncio.shield(asyncio.wrap_future(closed))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _flush(self) -> None:
        self._wake.clear()
        group, self._waiting = self._waiting, []
        owed, self._owed = self._owed, deque(maxlen=OWED_LIMIT)
        self._writing = [*owed, *(each for each, _ in group)]
        if not self._writing:
            return
        failure: Exception | None = None
        try:
            while self._writing:
                piece = [each.entry for each in self._writing[:PIECE]]
                await self._in_thread(partial(self._file.append, piece), WRITE_LIMIT)
                del self._writing[:PIECE]
        except Exception as error:  # noqa: BLE001 - a fault of ours, raised below, loses none either
            failure = error
            self._owe_first(self._writing)
        except BaseException:
            self._waiting = group + self._waiting  # written twice, it is one entry all the same
            self._owe_first(self._writing[: max(len(self._writing) - len(group), 0)])
            raise
        finally:
            self._writing = []
        self._settle(failure)
        for _, future in group:
            if not future.done():
                future.set_result(failure is None)
        if not isinstance(failure, OSError | None):
            raise failure

    def _owe(self, owed: _Owed) -> None:
        self._dropped += len(self._owed) == OWED_LIMIT
        self._owed.append(owed)

    def _owe_first(self, unwritten: Iterable[_Owed]) -> None:
        every = [*unwritten, *self._owed]
        self._dropped += max(len(every) - OWED_LIMIT, 0)
        self._owed = deque(every, OWED_LIMIT)

    async def _tidy(self) -> None:
        failure: OSError | None = None
        try:
            await self._admit(await self._in_thread(self._file.adopt))
            self._adopted.set()
            await self._in_thread(self._file.compact)
            # A disk that would refuse the next revocation is told of before there is one.
            await self._in_thread(self._file.probe, WRITE_LIMIT)
        except OSError as error:
            failure = error
        self._settle(failure)
        self._adopted.set()

    async def _admit(self, found: Found) -> None:
        for number, entry in enumerate(found.entries, start=1):
            self._take(entry)
            if number % PIECE == 0:
                await asyncio.sleep(0)  # the loop has others to serve
        self._unread = OutboxTrouble("; ".join(found.unread), "unread") if found.unread else None
        strange = [reason for reason in found.foreign if reason not in self._foreign]
        self._foreign.update(strange)
        if found.files or strange:
            self._events.emit(
                OutboxAdopted(found.files, len(found.entries), found.damaged, tuple(strange))
            )

    def _settle(self, failure: Exception | None) -> None:
        """Take in what came of asking the disk."""
        self._refused = bool(self._owed)
        if failure is not None:
            self._unwritten = _trouble_of(failure)
        elif not self._refused:
            self._unwritten = None
        self._say()

    def _fail(self, trouble: OutboxTrouble) -> None:
        self._unwritten = trouble
        self._say()

    def _say(self) -> None:
        """Tell what is wrong now, once."""
        trouble = self._unwritten or self._unread
        if trouble != self.trouble:
            self.trouble = trouble
            if trouble is not None:
                self._events.emit(trouble)
            else:
                missing, self._dropped = self._dropped, 0
                self._events.emit(OutboxKept(missing))

    async def _in_thread(self, work: Callable[[], T], limit: float = TIDY_LIMIT) -> T:
        self._expect(limit)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            if self._late is not None:
                self._late.cancel()
            self._hangs = False

    def _expect(self, limit: float) -> None:
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(limit, self._judge, limit, self._file.steps)

    def _judge(self, limit: float, steps: int) -> None:
        if self._file.steps != steps:
            self._expect(limit)
            return
        self._hangs = True
        self._fail(_HUNG)


def _trouble_of(failure: Exception) -> OutboxTrouble:
    if not isinstance(failure, OSError):
        return OutboxTrouble(type(failure).__name__, "error")
    kind: DiskTrouble = "full" if failure.errno in _FULL else "error"
    return OutboxTrouble(failure.strerror or str(failure), kind)
