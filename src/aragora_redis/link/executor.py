"""Run an operation within its deadline: choose the lane, replay what may be replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..clock import Clock
from ..errors import (
    AragoraRedisError,
    DeadlineError,
    LinkDownError,
    OutcomeUnknownError,
    OverloadedError,
    RefusedError,
)
from ..operation import Fence, Operation
from .primary import PrimaryLinks

T = TypeVar("T")

_NEVER_RAN = frozenset({"LATE", "NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN"})
"""Refusals that a fresh sample of the clock, a loaded script or the right node may cure."""


class Executor:
    """Knows which operations may be tried again; never what they mean.

    Args:
        doubt: why the primary may no longer speak for the fleet, or None.
    """

    def __init__(
        self, links: PrimaryLinks, clock: Clock, *, doubt: Callable[[], str | None]
    ) -> None:
        self._links = links
        self._clock = clock
        self._doubt = doubt

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
        mux = self._links.lanes[operation.lane]
        unknown: OutcomeUnknownError | None = None
        while True:
            if operation.fence is not Fence.NONE and (doubt := self._doubt()) is not None:
                raise unknown or LinkDownError(doubt)
            try:
                return operation.result(await mux.submit(operation, until))
            except OutcomeUnknownError as error:
                failed: AragoraRedisError = error
                unknown = unknown or error
                over = not operation.replayable
            except RefusedError as error:
                failed = error
                over = error.code not in _NEVER_RAN
            except LinkDownError as error:
                failed = error
                over = operation.at_once
            except (DeadlineError, OverloadedError) as error:
                failed = error
                over = isinstance(error, OverloadedError)
            if over or self._clock.monotonic() >= until:
                raise unknown or failed
            if not await self._links.usable(operation.lane, until):
                raise unknown or _up_to_date(failed, mux.down)


def _up_to_date(failed: AragoraRedisError, down: str | None) -> AragoraRedisError:
    """The reason may have become known while the lane was waited for."""
    if isinstance(failed, LinkDownError) and down is not None:
        return LinkDownError(f"there is no usable connection to Redis: {down}")
    return failed
