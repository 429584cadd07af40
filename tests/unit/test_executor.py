"""What an executor tells after several attempts, and when it does not wait."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import (
    DeadlineError,
    LinkDownError,
    OutcomeUnknownError,
    OverloadedError,
    RefusedError,
    UnexpectedReplyError,
)
from aragora_redis.link.executor import Executor
from aragora_redis.link.primary import PrimaryLinks
from aragora_redis.operation import Fence, Kind, Lane, Operation

UNKNOWN = OutcomeUnknownError("the answer was lost")


class Links:
    """A lane that gives one outcome after the other."""

    def __init__(self, *outcomes: Any, usable: bool = True) -> None:
        self.lanes = dict.fromkeys(Lane, self)
        self.down = "away"
        self.waited = 0
        self.doubt: str | None = None
        self._outcomes = list(outcomes)
        self._usable = usable

    def submit(self, _operation: Operation[Any], _deadline: float) -> asyncio.Future[Any]:
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, LinkDownError | OverloadedError):
            raise outcome
        future = asyncio.get_running_loop().create_future()
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future

    async def usable(self, _lane: Lane, _until: float) -> bool:
        self.waited += 1
        return self._usable

    async def run(self, kind: Kind = Kind.CAS, **given: Any) -> Any:
        operation = Operation(kind=kind, keys=(), args=(), read=int, **given)
        executor = Executor(cast("PrimaryLinks", self), SYSTEM_CLOCK, doubt=lambda: self.doubt)
        return await executor.run(operation, within=0.05)


@pytest.mark.parametrize(
    "later",
    [
        LinkDownError("down"),
        DeadlineError("late"),
        OverloadedError("full"),
        RefusedError("NOREPLICAS", "refused"),
        RefusedError("LATE", "late"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_i5_once_an_attempt_may_have_run_no_later_one_denies_it(later):
    links = Links(UNKNOWN, later, usable=True)
    links_without_more = Links(UNKNOWN, later, usable=False)
    for each in (links, links_without_more):
        with pytest.raises(OutcomeUnknownError):
            await each.run()


async def test_i5_a_repetition_that_is_answered_is_the_outcome():
    assert await Links(UNKNOWN, LinkDownError("down"), 7).run() == 7


async def test_i5_an_effect_is_never_repeated():
    links = Links(UNKNOWN, 7)
    with pytest.raises(OutcomeUnknownError):
        await links.run(Kind.EFFECT)
    assert not links.waited


async def test_i2_who_wants_it_at_once_does_not_wait_for_a_link_that_is_down():
    links = Links(LinkDownError("down"), 7)
    with pytest.raises(LinkDownError):
        await links.run(at_once=True)
    assert not links.waited
    assert await Links(LinkDownError("down"), 7).run() == 7


async def test_a_reply_that_cannot_be_read_is_a_typed_error():
    replies: tuple[Any, ...] = ("x", None, float("inf"), [])
    for reply in replies:
        with pytest.raises(UnexpectedReplyError):
            await Links(reply).run()


@pytest.mark.parametrize("fence", [Fence.STANDING, Fence.PROBE])
async def test_i3_nothing_fenced_goes_to_a_primary_that_may_have_been_replaced(fence):
    links = Links(7)
    links.doubt = "nobody vouches for it"
    with pytest.raises(LinkDownError, match="nobody vouches"):
        await links.run(fence=fence)
    assert await links.run() == 7, "what may always be repeated goes on"
