"""Many callers on one connection: each turn of the loop becomes one write.

Two batches may be in flight, so that client and server work at the same time; the size of a batch
follows the number of callers that wait. Operations of one batchable script travel as one call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import hiredis

from ..clock import Clock, ServerTime
from ..errors import (
    DeadlineError,
    LinkDownError,
    LinkSilentError,
    OutcomeUnknownError,
    RefusedError,
)
from ..events import DeadlineMissed, Events
from ..operation import Fence, Operation
from .batch import Batch, Pending, fail, group, no_answer, pack_calls, settle_call
from .pipe import Lost, Pipe, ReplyHandler
from .probe import Probe
from .pulse import DEAD_AFTER, Pulse
from .replies import RedirectError, classify, late_by, reconnects
from .trust import FRESH, Trust
from .unsent import Unsent

T = TypeVar("T")

BATCH_FLOOR, BATCH_CEILING = 8, 64
BATCHES_IN_FLIGHT = 2
_PROBE = Fence.PROBE
HAND_OVER_LIMIT, HAND_OVER_LOOKS = 0.2, 100
"""Seconds for what was sent to be answered, and how often in them it is looked."""


class Mux:
    """A lane: one connection at a time, shared by all callers.

    Args:
        name: for events.
        patience: seconds without the oldest answer after which the lane is suspect, and answers
            `LinkDownError` at once instead of writing more.
        role_fault: judges the reply to `question`; returns what is wrong, or None.
        vouched: whether most Sentinels have been heard since a moment (monotonic seconds).
        on_probe: told that a probe begins, so that the Sentinels are asked as well.
        on_lost: told when the lane's connection ended, with the reason.
        by_slot: whether a call may hold keys of one slot only.
    """

    def __init__(
        self,
        name: str,
        *,
        by_slot: bool,
        clock: Clock,
        events: Events,
        patience: float,
        role_fault: Callable[[Any], str | None],
        vouched: Callable[[float], bool],
        on_probe: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._name = name
        self._clock = clock
        self._events = events
        self._patience = patience
        self._role_fault = role_fault
        self._vouched = vouched
        self._on_probe = on_probe
        self._on_lost = on_lost
        self.by_slot = by_slot
        self.question: tuple[str, ...] = ("ROLE",)
        """What a server that was silent is asked."""
        self._pipe: Pipe | None = None
        self._loop: asyncio.AbstractEventLoop
        self._down_reason = "not connected yet"
        self._down_remedy = ""
        """What helps against that; empty where nothing is known to."""
        self._suspended: str | None = None
        self._handing_over = False
        self._unsent = Unsent()
        self._in_flight: deque[Batch] = deque()
        self._last_batch = 0
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._probe: Probe | None = None
        self._trust = Trust()
        self._pulse = Pulse(self._trust, clock)
        self.generation = 0
        """Counts connections, so that a group knows whether it spans two."""
        self.server_time = ServerTime(0.0, 0)

    # --- the connection -----------------------------------------------------------------

    @property
    def down(self) -> str | None:
        """Why nothing can be sent now, or None."""
        if self._pipe is None:
            remedy = self._down_remedy
            return f"{self._down_reason} ({remedy})" if remedy else self._down_reason
        if self._suspended is not None:
            return self._suspended
        if self._in_flight:
            silent = self._clock.monotonic() - self._in_flight[0].sent_at
            if silent > self._patience:
                return f"no answer for {silent * 1000:.0f} ms"
        return None

    def refusal(self, what: str = "there is no usable connection to Redis") -> LinkDownError:
        """What whoever asks is told while it is down: `what` that means, and why it is so."""
        if self._pipe is None:
            return LinkDownError(f"{what}: {self._down_reason}", remedy=self._down_remedy or None)
        silent = self._suspended is None
        return (LinkSilentError if silent else LinkDownError)(f"{what}: {self.down}")

    def attach(self, pipe: Pipe, server_time: ServerTime) -> None:
        """Use a verified connection from now on."""
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._pulse.connected()
        self.server_time = server_time
        self.generation += 1
        pipe.on_read(self._on_read)
        pipe.on_close(lambda reason: self._detached(pipe, reason))

    def close(self, reason: str, *, remedy: str = "") -> None:
        """Give the connection up: what was sent is unknown, what was not did not run."""
        if self._pipe is None:
            self._down_reason, self._down_remedy = reason, remedy
        self.drop(reason)

    async def hand_over(self, pipe: Pipe, server_time: ServerTime) -> bool:
        """Use another connection from the next write on, once all that was sent is answered.

        False if that does not come in time: the old connection is given up then, as is this one.
        """
        old = self._pipe
        self._handing_over = True
        try:
            for _ in range(HAND_OVER_LOOKS):
                if not self._busy:
                    break
                await asyncio.sleep(HAND_OVER_LIMIT / HAND_OVER_LOOKS)
        except asyncio.CancelledError:
            pipe.close("not needed any more")
            raise
        finally:
            self._handing_over = False
        if old is None or old is not self._pipe or self._busy:
            if old is self._pipe:
                self.drop("what was sent before the hand-over was not answered")
            pipe.close("not needed any more")
            self._flush()
            return False
        self.attach(pipe, server_time)
        old.close("handed over")
        self._flush()
        return True

    @property
    def _busy(self) -> bool:
        """Whether an answer is waited for."""
        return bool(self._in_flight) or self._probe is not None

    def drop(self, reason: str) -> None:
        """Give the connection up, if there is one."""
        if self._pipe is not None:
            self._pipe.close(reason)

    @property
    def connected(self) -> bool:
        """Whether there is a connection, usable or not."""
        return self._pipe is not None

    @property
    def peer(self) -> str | None:
        """The network address at the other end."""
        return self._pipe.peer if self._pipe is not None else None

    def trust(self) -> None:
        """Have no doubt: another primary was named."""
        self._trust.clear()

    def suspend(self, reason: str) -> None:
        """Write nothing more, but keep reading, until `resume` or `close`."""
        self._suspended = reason
        self._unsent.fail(LinkDownError(f"Redis is not written to now: {reason}"))

    def resume(self) -> None:
        """Write again after `suspend`."""
        self._suspended = None

    def _detached(self, pipe: Pipe, reason: str) -> None:
        if self._pipe is not pipe:
            return
        self._pipe = None
        self._down_reason, self._down_remedy = reason, ""
        if self._probe is not None:
            self._trust.failed(self._probe.silent_since)
            self._probe.cancel()
            self._probe = None
        self._trust.lost(self._clock.monotonic())
        # Their handlers were told already, but for one whose reply could not be handled.
        for pending in [pending for batch in self._in_flight for pending in batch.pending]:
            fail(pending, OutcomeUnknownError(f"the connection to Redis ended: {reason}"))
        self._in_flight.clear()
        self._last_batch = 0
        self._unsent.fail(LinkDownError(f"the connection to Redis ended: {reason}"))
        self._on_lost(reason)

    # --- sending --------------------------------------------------------------------------

    def submit(
        self,
        operation: Operation[T],
        deadline: float,
        *,
        asking: bool = False,
        alone: bool = False,
    ) -> asyncio.Future[Any]:
        """Queue an operation; the future gets its raw reply, or one of this package's errors.

        Cancelling the future before the next write means that it did not run.

        Args:
            operation: what to run.
            deadline: monotonic seconds at which the caller gives up.
            asking: whether the slot is only on its way to this server (`ASKING`).
            alone: whether it shares no call with others.

        Raises:
            LinkDownError: the lane is down or suspect; nothing was queued.
            OverloadedError: the queue is full; nothing was queued.
        """
        if self.down is not None:
            raise self.refusal()
        future: asyncio.Future[Any] = self._loop.create_future()
        pending = Pending(operation, future, deadline, asking, asking or alone)
        doubtful = operation.fence is _PROBE and self._doubtful()
        self._unsent.add(pending, fenced=doubtful)
        self._arm_timer(deadline)
        if doubtful:
            self._probe_first()
        elif not self._in_flight and self._last_batch <= 1 and len(self._unsent) == 1:
            self._flush()
        else:
            self._schedule_flush()
        return future

    def _doubtful(self) -> bool:
        """Whether what is fenced waits for a proof now."""
        now = self._clock.monotonic()
        self._pulse.fenced(now)
        return self._trust.doubtful(now)

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _flush(self) -> None:
        while (
            (pipe := self._pipe) is not None
            and self._unsent
            and len(self._in_flight) < BATCHES_IN_FLIGHT
            and pipe.writable
            and self._suspended is None
            and not self._handing_over
        ):
            # Two that were written as one are answered as one, and from then on client and server
            # take turns.
            self._write_batch(pipe)

    def _write_batch(self, pipe: Pipe) -> None:
        now = self._clock.monotonic()
        # What was queued may have waited through a silence, and for an answer that came late.
        if self._trust.doubtful(now) and self._unsent.fence():
            self._probe_first()
        waiting = len(self._unsent) + sum(len(batch.pending) for batch in self._in_flight)
        taken = self._unsent.take(min(max(waiting // 2, BATCH_FLOOR), BATCH_CEILING))
        if not taken:
            return
        batch = Batch(taken, now)
        calls, commands = pack_calls(group(taken, by_slot=self.by_slot), self.server_time)
        if not calls:
            return
        batch.calls = len(calls)
        self._in_flight.append(batch)
        self._last_batch = len(taken)
        self._arm_timer(now + self._patience)
        handlers: list[ReplyHandler] = []
        for call in calls:
            if call[0].asking:
                handlers.append(_ignore)  # the answer to ASKING itself
            handlers.append(self._reply_handler(batch, call))
        pipe.send(b"".join(commands), handlers)

    # --- replies --------------------------------------------------------------------------

    def _reply_handler(self, batch: Batch, call: list[Pending]) -> Callable[[Any], None]:
        def handle(reply: Any) -> None:
            if isinstance(reply, Lost):
                lost = f"the connection to Redis ended: {reply.reason}"
                for pending in call:
                    fail(pending, OutcomeUnknownError(lost, remedy="read back before repeating"))
                return
            now = self._clock.monotonic()
            late = now - batch.sent_at > FRESH
            self._trust.answered(now, late=late)
            if isinstance(reply, hiredis.ReplyError):
                over = self._call_refused(call, str(reply), now)
            else:
                over = settle_call(call, reply, late=late)
            batch.calls -= 1
            # Redis answers in order, so it is the oldest, unless the pipe has just been replaced.
            if not batch.calls and self._in_flight and self._in_flight[0] is batch:
                self._in_flight.popleft()
            if over is not None:
                self.drop(f"the server answered {over}")

        return handle

    def _on_read(self) -> None:
        # The flush comes after those who have been woken: most of them ask again at once.
        if self._unsent or self._last_batch > 1:
            self._schedule_flush()

    def _call_refused(self, call: list[Pending], text: str, now: float) -> str | None:
        """Tell its callers; the code after which the connection is of no more use, or None."""
        error = classify(text)
        if isinstance(error, RedirectError) and error.code == "ASK" and len(call) > 1:
            # Redis 6.2 says so where only some of the keys have gone.
            error = RefusedError("TRYAGAIN", "some of the keys are on their way to another node")
        if (server_now := late_by(text)) is not None:
            self.server_time = ServerTime(now, server_now)
        for pending in call:
            fail(pending, error)
        return reconnects(error)

    # --- time -----------------------------------------------------------------------------

    def _arm_timer(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        delay = max(at - self._clock.monotonic(), 0.0)
        self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        """Fail what is over its deadline; give up a connection that is silent for too long."""
        self._timer = None
        now = self._clock.monotonic()
        upcoming = self._expire(self._unsent, now, sent_at=None)
        for batch in self._in_flight:
            upcoming += self._expire(batch.pending, now, sent_at=batch.sent_at)
        if self._in_flight:
            upcoming.append(self._mind_silence(self._in_flight[0].sent_at, now))
        if self._pipe is not None and upcoming:
            self._arm_timer(min(upcoming))

    def _expire(
        self, waiting: Iterable[Pending], now: float, *, sent_at: float | None
    ) -> list[float]:
        """Fail what is over its deadline; returns the deadlines that are still to come."""
        upcoming: list[float] = []
        for pending in waiting:
            if pending.future.done():
                continue
            if pending.deadline > now:
                upcoming.append(pending.deadline)
                continue
            if sent_at is None:
                fail(pending, DeadlineError("the deadline passed before Redis could be asked"))
            else:
                fail(pending, no_answer(pending, now - sent_at))
            self._events.emit(DeadlineMissed(self._name, sent=sent_at is not None))
        return upcoming

    def _mind_silence(self, oldest: float, now: float) -> float:
        """Act on how long the oldest batch has waited; returns when to look again."""
        dead_after = max(DEAD_AFTER, self._patience)
        if now - oldest > self._patience:
            self._unsent.fail(LinkSilentError("Redis does not answer"))
        if now - oldest > dead_after and self._pipe is not None:
            self._pipe.close(f"no answer for {now - oldest:.1f} s")
        patient = now - oldest <= self._patience
        return oldest + (self._patience if patient else dead_after) + 0.001

    # --- silence --------------------------------------------------------------------------

    def _probe_first(self) -> None:
        """Ask for the role, and let the fenced operations go on a good answer."""
        if self._probe is not None or self._pipe is None:
            return
        self._probe = Probe(
            self._pipe,
            clock=self._clock,
            silent_since=self._trust.silent_since(self._clock.monotonic()),
            question=self.question,
            role_fault=self._role_fault,
            vouched=self._vouched,
            conclude=self._probed,
        )
        self._on_probe()

    def _probed(self, fault: str | None) -> None:
        probe, self._probe = self._probe, None
        if probe is None or self._pipe is None:
            return
        if fault is not None:
            self._trust.failed(probe.silent_since)
            self._pipe.close(f"the probe failed: {fault}")
            return
        self._trust.proved(self._clock.monotonic())
        self._unsent.unfence()
        self._flush()

    def keep_warm(self) -> None:
        """Ask for a sign of life before a silence begins, or grows long."""
        if self._pipe is not None:
            self._pulse.beat(self._pipe, idle=not self._in_flight, asks=self._suspended is None)


def _ignore(_reply: Any) -> None:
    return
