"""Acts by hand, recorded behind their backs: none fails because of its record.

What was done is told in the log at once, and recorded in the background. In an outage so many wait;
what finds no room, or is left when this instance ends, is told in the log as lost, and counted.
More acts at once than there is room for wait a moment while Redis is well, and none else waits.
A failover may lose what was recorded last, so that is recorded again in a new history: a record
names its act by an id, and a second copy tells no other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Protocol, TypeVar

from msgspec.structs import replace

from ...audit.act import REASON_LIMIT, Act, outcome_of, validate_actor
from ...audit.page import Page
from ...clock import Clock
from ...errors import AragoraRedisError, InvalidInputError, Ran
from ...events import Acted, ActLost, AuditTrouble, Events
from ...names import validate_text
from ..life import Life
from .log import AuditLog

T = TypeVar("T")

WAITING = 1_024
"""Acts that may wait to be recorded."""
ROOM_WITHIN = 2.0
"""Seconds for which an act may wait for room, while Redis is well."""
AT_ONCE = 64
RECORD_LIMIT = 1.0
"""Seconds that one attempt to record may take."""
RETRY_AFTER = 1.0
SURE_AFTER = 5.0
"""Seconds in step with the primary after which no failover loses a record: `min-replicas-max-lag`,
and the second in which replicas acknowledge."""
SEEN_WITHIN = 0.25
"""Seconds for which whoever reads waits for what was just done here."""
LONGEST_PAGE = 10_000


_VIA: ContextVar[str] = ContextVar("via", default="")


@contextlib.contextmanager
def done_via(via: str) -> Iterator[None]:
    """Say by what this task does what it does meanwhile, see `Act.via`."""
    token = _VIA.set(via)
    try:
        yield
    finally:
        _VIA.reset(token)


class Recorder(Protocol):
    """Has acts recorded."""

    async def act(
        self, act: Act, work: Callable[[], Awaitable[T]], outcome: Callable[[T], str]
    ) -> T:
        """Do it, and have it recorded if somebody is named as its actor; raises as `work` does.

        Args:
            act: what is done; when, where and how it came out is added.
            work: does it.
            outcome: words what it came to.

        Raises:
            InvalidInputError: the actor or the reason cannot be; nothing was done.
        """


class Unrecorded:
    """Does what is recorded elsewhere, or by nobody."""

    async def act(
        self, act: Act, work: Callable[[], Awaitable[T]], outcome: Callable[[T], str]
    ) -> T:
        """See `Recorder.act`."""
        del act, outcome
        return await work()


UNRECORDED = Unrecorded()


class Audit:
    """The record of what was done by hand, in the whole fleet.

    Args:
        log: where it is kept.
        life: from when to when it is shown.
        clock: for how long a record has been there.
        server_now: the server's clock in Unix seconds.
        instance: what this one is called.
        via: by what its acts are done, see `Act.via`.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        life: Life,
        clock: Clock,
        events: Events,
        server_now: Callable[[], float],
        instance: str,
        via: str = "python",
    ) -> None:
        self._log = log
        self._life = life
        self._clock = clock
        self._events = events
        self._server_now = server_now
        self._instance = instance
        self._waiting: dict[str, Act] = {}
        self._recorded: deque[tuple[float, Act]] = deque(maxlen=WAITING)
        self._in_step_at = float("-inf")
        self._ended = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tried = asyncio.Event()
        self.via = via
        """By what the acts of this instance are done, where nothing else is said: see `Act.via`."""
        self.trouble: str | None = None
        """Why acts wait to be recorded."""

    async def recent(
        self,
        limit: int = 50,
        *,
        before: str | None = None,
        actor: str | None = None,
        target: str | None = None,
    ) -> Page:
        """What was done by hand, from every face and instance, the newest first.

        About the last 20 000 records are kept (1 000 in memory, where there is no Redis).

        Args:
            limit: how many, at most 10 000.
            before: the `older` of a page, for the one that follows.
            actor: only what they did.
            target: only what was done to it: a name, a digest, or a part of one.

        Raises:
            InvalidInputError: the arguments.
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        self._life.require()
        if type(limit) is not int or not 1 <= limit <= LONGEST_PAGE:
            raise InvalidInputError(f"a page has 1 to {LONGEST_PAGE} acts")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEEN_WITHIN):
                await self._idle.wait()
        return await self._log.recent(limit, before=before, actor=actor, target=target)

    async def act(
        self, act: Act, work: Callable[[], Awaitable[T]], outcome: Callable[[T], str]
    ) -> T:
        """See `Recorder.act`."""
        if not act.actor:
            return await work()
        validate_actor(act.actor)
        validate_text(act.reason, "a reason", least=0)
        begun = replace(act, at=self._server_now())
        try:
            result = await work()
        except AragoraRedisError as error:
            slip = isinstance(error, InvalidInputError) and error.ran is Ran.NO
            if not slip:  # of the pen, which is no act
                await self._note_in_time(replace(begun, outcome=outcome_of(error)))
            raise
        except BaseException:
            self.note(replace(begun, outcome="unknown"))
            raise
        await self._note_in_time(replace(begun, outcome=outcome(result)))
        return result

    async def _note_in_time(self, act: Act) -> None:
        try:
            async with asyncio.timeout(ROOM_WITHIN):
                while self._is_full and self.trouble is None and not self._ended:
                    self._tried.clear()
                    await self._tried.wait()
        except TimeoutError:
            pass
        finally:
            self.note(act)

    def note(self, act: Act) -> None:
        """Have an act recorded that was done, without waiting for it."""
        noted = replace(
            act,
            at=act.at or self._server_now(),
            reason=act.reason[:REASON_LIMIT],
            via=act.via or _VIA.get() or self.via,
            instance=self._instance,
        )
        self._events.emit(
            Acted(noted.actor, noted.action, noted.target, noted.outcome, via=noted.via)
        )
        if self._ended or self._is_full:
            self._lose(noted, self._why_lost)
            return
        self._waiting[noted.id] = noted
        self._idle.clear()
        self._wake.set()

    def in_step(self, at: float) -> None:
        """Take in that Redis takes writes, and when (monotonic) we were last in step with it.

        What the time before says is gone by: a new history is told of after the step that shows it.
        """
        while self._recorded and self._recorded[0][0] + SURE_AFTER < self._in_step_at:
            self._recorded.popleft()
        self._in_step_at = at

    def record_again(self) -> None:
        """Record anew what a new history may lack."""
        again = {act.id: act for _, act in self._recorded}
        self._recorded.clear()
        if again:
            self._waiting = again | self._waiting
            self._idle.clear()
            self._wake.set()

    async def run(self) -> None:
        """Record what was done, until cancelled."""
        while True:
            while self._waiting:
                if not await self._record(RECORD_LIMIT):
                    await asyncio.sleep(RETRY_AFTER)
            await self._wake.wait()
            self._wake.clear()

    async def finish(self) -> None:
        """Record what is left when this instance ends."""
        try:
            while self._waiting and await self._record(RECORD_LIMIT):
                pass
        finally:
            self._ended = True
            self._tried.set()
            for act in self._waiting.values():
                self._lose(act, self._why_lost)
            self._waiting.clear()

    async def _record(self, within: float) -> bool:
        """Try those that wait longest; whether all of these are recorded."""
        acts = list(self._waiting.values())[:AT_ONCE]
        tried = await asyncio.gather(
            *(self._log.append(act, within=within) for act in acts), return_exceptions=True
        )
        now = self._clock.monotonic()
        for act, error in zip(acts, tried, strict=True):
            if error is None:
                self._waiting.pop(act.id, None)
                self._recorded.append((now, act))
        if not self._waiting:
            self._idle.set()
        failed = [error for error in tried if error is not None]
        self._tell(str(failed[0]) if failed else None)
        self._tried.set()
        for error in failed:
            if not isinstance(error, AragoraRedisError):
                raise error
        return not failed

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            self._events.emit(AuditTrouble(len(self._waiting), trouble))
        self.trouble = trouble

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= WAITING

    @property
    def _why_lost(self) -> str:
        at_once = "more was done at once than can be recorded"
        return self.trouble or ("this instance has ended" if self._ended else at_once)

    def _lose(self, act: Act, reason: str) -> None:
        self._events.emit(ActLost(act.actor, act.action, act.target, act.outcome, reason))
