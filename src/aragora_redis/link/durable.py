"""Group commit: joins that want to be on the replicas share one WAIT.

WAIT stalls everything behind it on its connection, so it has a lane of its own with one group in
flight; what arrives meanwhile is the next group. A WAIT speaks for every earlier write of its
connection, so a group that a slow replica missed is covered by a later WAIT.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from ..clock import Clock
from ..errors import (
    AragoraRedisError,
    DeadlineError,
    LinkDownError,
    OutcomeUnknownError,
    OverloadedError,
    UnexpectedReplyError,
)
from ..operation import Kind, Lane, Operation
from .mux import Mux
from .replies import RedirectError
from .unsent import QUEUE_LIMIT

T = TypeVar("T")

GROUP_LIMIT = 64
"""Joins that travel together at most."""
WAIT_SLICE_MS = 200
"""Milliseconds that one WAIT may take; longer ones would delay the next group."""


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def always(_reply: object) -> bool:
    """Any reply says that it was written."""
    return True


class Synced(NamedTuple):
    """Who has what a connection wrote on disk: the primary, and how many replicas."""

    here: bool
    replicas: int


@dataclass(slots=True, eq=False)
class Ticket(Generic[T]):
    """A join on its way.

    `primary` gets the reply, or the error after which the join is to be sent again by its owner.
    `replicated` gets how many replicas acknowledged what was written on one connection, once that
    is all that were required; nothing was by a reply that is not `accepted`. With
    `fsync`, `fsynced` gets how many have it on disk, once those have and the primary has. One that
    is not `sent` when its owner ceases to wait for `primary` never will be.
    """

    operation: Operation[T]
    until: float
    primary: asyncio.Future[T] = field(default_factory=_future)
    replicated: asyncio.Future[int] = field(default_factory=_future)
    fsync: bool = False
    fsynced: asyncio.Future[int] = field(default_factory=_future)
    sent: bool = False
    accepted: Callable[[T], bool] = always
    needed: int = 0
    """Replicas that were required as `replicated` was told."""

    def waits(self, required: int) -> bool:
        """Whether a later acknowledgement may still tell its owner something."""
        replicated = self.replicated.done() or not required
        return not (replicated and (self.fsynced.done() or not self.fsync))


class GroupCommit:
    """Sends joins on the durable lane.

    Args:
        mux: the durable lane.
        required: how many replicas must acknowledge now; 0 where none counts.
        on_redirect: told that another node holds the slot of a join.
    """

    def __init__(
        self,
        mux: Mux,
        required: Callable[[], int],
        clock: Clock,
        *,
        on_redirect: Callable[[RedirectError], object],
    ) -> None:
        self._mux = mux
        self._required = required
        self._clock = clock
        self._on_redirect = on_redirect
        self._pending: deque[Ticket[Any]] = deque()
        self._awaiting: list[Ticket[Any]] = []
        self._under_way: list[Ticket[Any]] = []
        self._generation = 0
        self._wake = asyncio.Event()
        self._closed = False

    def submit(
        self,
        operation: Operation[T],
        until: float,
        *,
        fsync: bool = False,
        accepted: Callable[[T], bool] = always,
    ) -> Ticket[T]:
        """Send a join with the next group; wait for acknowledgements until `until` (monotonic).

        One whose group does not come before `until` is never sent, and gets `DeadlineError`.

        Raises:
            OverloadedError: too many wait; it is not sent.
        """
        if len(self._pending) >= QUEUE_LIMIT:
            raise OverloadedError("too many wait to be committed", remedy="slow down")
        ticket = Ticket(operation, until, fsync=fsync, accepted=accepted)
        if self._closed:
            _settle(ticket, _left())
            return ticket
        self._pending.append(ticket)
        self._wake.set()
        return ticket

    async def run(self) -> None:
        """Commit groups until cancelled: then all who wait are told, and none is taken any more."""
        try:
            while True:
                if not self._pending and not self._awaiting:
                    self._wake.clear()
                    await self._wake.wait()
                await self._commit()
        except asyncio.CancelledError:
            self._closed = True
            for ticket in self._under_way:
                _settle(ticket, OutcomeUnknownError("its primary was left before it had answered"))
            for ticket in self._pending:
                _settle(ticket, _left())
            raise

    async def _commit(self) -> None:
        now = self._clock.monotonic()
        self._awaiting = [ticket for ticket in self._awaiting if ticket.until > now]
        if self._generation != self._mux.generation:
            # WAIT speaks for its own connection only, so what it had not confirmed is joined again.
            self._pending.extendleft(self._awaiting)
            self._awaiting = []
        self._under_way = group = self._next_group(now)
        if not group and not self._awaiting:
            return
        required = self._required()
        syncs = any(ticket.fsync for ticket in (*group, *self._awaiting))
        self._generation = self._mux.generation
        waits: list[Operation[Any]] = [_wait(required)] if required else []
        waits += [_wait_for_disks(required)] if syncs else []
        limit = now + max(2, 1 + len(waits)) * WAIT_SLICE_MS / 1000
        replies = await asyncio.gather(
            *(self._send(each.operation, min(limit, each.until)) for each in group),
            *(self._send(each, limit) for each in waits),
            return_exceptions=True,
        )
        self._under_way = []
        told = zip(group, replies[: len(group)], strict=True)
        self._awaiting += [ticket for ticket, reply in told if _settle(ticket, reply)]
        answers = replies[len(group) :]
        if self._generation == self._mux.generation:
            synced = answers[-1] if syncs else None
            self._tell(required, answers[0] if required else None, synced)
        self._awaiting = [ticket for ticket in self._awaiting if ticket.waits(required)]
        failed = any(isinstance(answer, BaseException) for answer in answers)
        if failed and not self._pending:  # nobody can confirm now: no busy loop meanwhile
            await self._pause()

    def _next_group(self, now: float) -> list[Ticket[Any]]:
        """Those to be sent now. What nobody waits for any more would hold up the others."""
        group: list[Ticket[Any]] = []
        while self._pending and len(group) < GROUP_LIMIT:
            ticket = self._pending.popleft()
            if ticket.until > now and not ticket.primary.cancelled():
                ticket.sent = True
                group.append(ticket)
            else:
                _settle(ticket, DeadlineError("its turn to be committed did not come in time"))
        return group

    def _tell(self, required: int, acknowledged: Any, synced: Any) -> None:
        """Tell owners what a WAIT, and a WAITAOF, spoke for."""
        for ticket in self._awaiting:
            if isinstance(acknowledged, int) and acknowledged >= required:
                ticket.needed = max(ticket.needed, required)
                _told(ticket.replicated, acknowledged)
            # Those that counted then do so on disk, also where nobody says any more who counts.
            needed = max(required, ticket.needed)
            if isinstance(synced, Synced) and synced.here and synced.replicas >= needed:
                _told(ticket.fsynced, synced.replicas)

    async def _pause(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SLICE_MS / 1000):
                await self._wake.wait()

    async def _send(self, operation: Operation[Any], until: float) -> Any:
        try:
            return operation.result(await self._mux.submit(operation, until))
        except RedirectError as error:
            self._on_redirect(error)
            raise


def _left() -> LinkDownError:
    return LinkDownError("its primary was left before it was sent")


def _settle(ticket: Ticket[Any], reply: Any) -> bool:
    """Tell the owner what became of the join; whether a WAIT may speak for it."""
    if isinstance(reply, AragoraRedisError):
        if not ticket.primary.done():
            ticket.primary.set_exception(reply)
        return False
    if isinstance(reply, BaseException):
        raise reply
    if not ticket.primary.done():
        ticket.primary.set_result(reply)
    return ticket.accepted(reply)


def _told(future: asyncio.Future[int], count: int) -> None:
    if not future.done():
        future.set_result(count)


def _wait(required: int) -> Operation[int]:
    return Operation(
        kind=Kind.READ,
        keys=(),
        args=("WAIT", required, WAIT_SLICE_MS),
        read=_read_acknowledgements,
        lane=Lane.DURABLE,
    )


def _read_acknowledgements(reply: Any) -> int:
    if not isinstance(reply, int):
        raise UnexpectedReplyError(f"WAIT answered {type(reply).__name__}")
    return reply


def _wait_for_disks(required: int) -> Operation[Synced]:
    return Operation(
        kind=Kind.READ,
        keys=(),
        args=("WAITAOF", 1, required, WAIT_SLICE_MS),
        read=_read_synced,
        lane=Lane.DURABLE,
    )


def _read_synced(reply: Any) -> Synced:
    match reply:
        case [int() as here, int() as replicas]:
            return Synced(here > 0, replicas)
        case _:
            raise UnexpectedReplyError("WAITAOF did not answer with two numbers")
