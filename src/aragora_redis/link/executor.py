"""Run an operation within its deadline: choose the way, replay what may be replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ..address import Address
from ..clock import Clock
from ..errors import (
    AragoraRedisError,
    DeadlineError,
    LinkDownError,
    OutcomeUnknownError,
    OverloadedError,
    RefusedError,
)
from ..operation import Operation
from .durable import Ticket, always
from .replies import RedirectError
from .route import Route

T = TypeVar("T")

_NEVER_RAN = frozenset(
    {"LATE", "NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "MOVED", "ASK", "TRYAGAIN"}
)
"""Refusals that a fresh sample of the clock, a loaded script or the right node may cure."""
_TELLING = (OutcomeUnknownError, RefusedError, LinkDownError, DeadlineError, OverloadedError)
"""Errors that leave open whether another attempt helps."""
SLICE = 0.05
"""Seconds after which who waits for a link looks whether another one leads to its slot."""
PAUSE = 0.002
"""Seconds before another attempt after the second refusal: the slot is between two nodes."""


class Routing(Protocol):
    """Knows which primary holds which slot."""

    @property
    def routes(self) -> Sequence[Route]:
        """One for each primary."""

    def lead(self, slot: int | None) -> Route | None:
        """The route to the primary of a slot, or to any for None; None where nobody holds it."""

    def at(self, address: Address) -> Route | None:
        """The route to a node, if it is a primary that is known."""

    def redirected(self, error: RedirectError) -> bool:
        """Take in that another node holds a slot; whether another attempt may find it."""


class Executor:
    """Knows which operations may be tried again; never what they mean.

    Args:
        by_slot: whether it matters which slot an operation's keys are in.
    """

    def __init__(self, routing: Routing, clock: Clock, *, by_slot: bool) -> None:
        self._routing = routing
        self._clock = clock
        self._by_slot = by_slot

    async def run(self, operation: Operation[T], *, within: float) -> T:
        """Run `operation`, for at most `within` seconds.

        What wants its answer `at_once` is not waited for while the link is down. Once an attempt
        may have run, so may the whole: no later attempt can say that it did not.

        Raises:
            LinkDownError, OverloadedError, DeadlineError, RefusedError: it did not run.
            OutcomeUnknownError: it may have run.
            UnexpectedReplyError: the reply cannot be read.
        """
        until = self._clock.monotonic() + within
        unknown: OutcomeUnknownError | None = None
        holder: Route | None = None
        refusals = 0
        while True:
            asking, holder = holder, None
            route = asking or self._lead(operation)
            if route is not None and (doubt := route.doubt_for(operation)) is not None:
                raise unknown or LinkDownError(doubt)
            try:
                if route is None:
                    raise LinkDownError("no primary is known to hold the slot")
                reply = await route.links.lanes[operation.lane].submit(
                    operation, until, asking=asking is not None, alone=refusals > 0
                )
                result = operation.result(reply)
            except _TELLING as error:
                failed: AragoraRedisError = error
            else:
                if unknown is not None:
                    _believe(operation, result, unknown)
                return result
            if isinstance(failed, OutcomeUnknownError):
                unknown = unknown or failed
            if self._over(operation, failed) or self._clock.monotonic() >= until:
                raise unknown or _missed(failed)
            holder = self._elsewhere(failed) if asking is None else None
            refusals += isinstance(failed, RefusedError)
            if not await self._may_go_on(operation, holder, refusals, until):
                raise unknown or self._up_to_date(_missed(failed), operation)

    def _lead(self, operation: Operation[T]) -> Route | None:
        return self._routing.lead(operation.slot if self._by_slot else None)

    def _over(self, operation: Operation[T], failed: AragoraRedisError) -> bool:
        """Whether no other attempt is to be made."""
        match failed:
            case OutcomeUnknownError():
                return not operation.replayable
            case RedirectError():
                return not self._routing.redirected(failed)
            case RefusedError():
                return failed.code not in _NEVER_RAN
            case LinkDownError():
                return operation.at_once
            case _:
                return isinstance(failed, OverloadedError)

    async def _may_go_on(
        self, operation: Operation[T], holder: Route | None, refusals: int, until: float
    ) -> bool:
        """Wait until another attempt can be made; False if none can before `until`."""
        if refusals > 1:
            await asyncio.sleep(PAUSE)
        return holder is not None or await self.usable(operation, until)

    def _elsewhere(self, failed: AragoraRedisError) -> Route | None:
        """The way to whoever has the slot for this once, if that is known."""
        if isinstance(failed, RedirectError) and failed.code == "ASK":
            return self._routing.at(failed.address)
        return None

    async def each(self, operation: Operation[T], *, within: float) -> list[T]:
        """Run an operation without keys on every primary; what those say that answer.

        Raises as `run` does where none of them does.
        """
        until = self._clock.monotonic() + within

        async def ask(route: Route) -> object:
            return await route.links.lanes[operation.lane].submit(operation, until)

        said = await asyncio.gather(*map(ask, self._routing.routes), return_exceptions=True)
        errors = [each for each in said if isinstance(each, BaseException)]
        faults = [each for each in errors if not isinstance(each, _TELLING)]
        if faults or (errors and len(errors) == len(said)):
            raise (faults or errors)[0]
        return [operation.result(each) for each in said if not isinstance(each, BaseException)]

    def fsyncs(self, slot: int | None = None) -> bool | None:
        """Whether the primary of a slot tells what is on disk; None while that is not known."""
        route = self._routing.lead(slot)
        return route.links.fsyncs if route is not None else None

    def submit(
        self,
        join: Operation[T],
        until: float,
        *,
        fsync: bool = False,
        accepted: Callable[[T], bool] = always,
    ) -> Ticket[T] | None:
        """Send what is durable with the next group of its primary; None while nobody may take it.

        Replies that redirect are taken in; its owner sends it again. For a reply that is not
        `accepted` no replica's acknowledgement counts, see `Ticket`.

        Raises:
            OverloadedError: too many wait; it is not sent.
        """
        route = self._lead(join)
        if route is None or route.doubt_for(join) is not None:
            return None
        return route.group.submit(join, until, fsync=fsync, accepted=accepted)

    async def usable(self, operation: Operation[T], until: float) -> bool:
        """Wait until it can be written; False if it cannot before `until` (monotonic)."""
        while (left := until - self._clock.monotonic()) > 0:
            route = self._lead(operation)
            if route is None:
                await asyncio.sleep(min(left, SLICE / 5))
            elif await route.links.usable(operation.lane, min(until, until - left + SLICE)):
                return True
        return False

    def _up_to_date(self, failed: AragoraRedisError, operation: Operation[T]) -> AragoraRedisError:
        """The reason may have become known while the lane was waited for."""
        route = self._lead(operation)
        lane = route.links.lanes[operation.lane] if route is not None else None
        if isinstance(failed, LinkDownError) and lane is not None and lane.down is not None:
            return lane.refusal()
        return failed


def _missed(failed: AragoraRedisError) -> AragoraRedisError:
    """That a call came too late says nothing against Redis, which has answered."""
    if isinstance(failed, RefusedError) and failed.code == "LATE":
        return DeadlineError("the deadline passed before Redis got what was sent")
    return failed


def _believe(operation: Operation[T], result: T, unknown: OutcomeUnknownError) -> None:
    """Refuse to believe that nothing was done, once an attempt may have run."""
    if operation.refuses is not None and operation.refuses(result):
        raise unknown
