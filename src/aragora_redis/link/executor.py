"""Run an operation within its deadline: choose the lane, replay what may be replayed."""

from __future__ import annotations

from typing import TypeVar

from ..clock import Clock
from ..errors import (
    AragoraRedisError,
    DeadlineError,
    LinkDownError,
    OutcomeUnknownError,
    RefusedError,
)
from ..operation import Kind, Operation
from .primary import PrimaryLinks

T = TypeVar("T")

_NEVER_RAN = frozenset({"LATE", "NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN"})
"""Refusals that a fresh sample of the clock, a loaded script or the right node may cure."""


class Executor:
    """Knows which operations may be tried again; never what they mean."""

    def __init__(self, links: PrimaryLinks, clock: Clock) -> None:
        self._links = links
        self._clock = clock

    async def run(self, operation: Operation[T], *, within: float) -> T:
        """Run `operation`, for at most `within` seconds.

        An effect is never waited for while the link is down: its caller has an outage policy, and
        an answer at once is worth more than a late one.

        Raises:
            LinkDownError, OverloadedError, DeadlineError, RefusedError: it did not run.
            OutcomeUnknownError: it may have run.
            UnexpectedReplyError: the reply cannot be read.
        """
        until = self._clock.monotonic() + within
        mux = self._links.lanes[operation.lane]
        while True:
            try:
                return operation.read(await mux.submit(operation, until))
            except RefusedError as error:
                if error.code not in _NEVER_RAN:
                    raise
                failed: AragoraRedisError = error
            except OutcomeUnknownError as error:
                if not operation.replayable:
                    raise
                failed = error
            except (LinkDownError, DeadlineError) as error:
                failed = error
            if operation.kind is Kind.EFFECT and isinstance(failed, LinkDownError):
                raise failed
            if self._clock.monotonic() >= until:
                raise failed
            if not await self._links.usable(operation.lane, until):
                raise _up_to_date(failed, mux.down)


def _up_to_date(failed: AragoraRedisError, down: str | None) -> AragoraRedisError:
    """The reason may have become known while the lane was waited for."""
    if isinstance(failed, LinkDownError) and down is not None:
        return LinkDownError(f"there is no usable connection to Redis: {down}")
    return failed
