"""What an executor tells after several attempts, and when it does not wait."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import (
    DeadlineError,
    LinkDownError,
    OutcomeUnknownError,
    OverloadedError,
    Ran,
    RefusedError,
    UnexpectedReplyError,
)
from aragora_redis.link.executor import Executor, Routing
from aragora_redis.link.replies import RedirectError
from aragora_redis.link.route import Route
from aragora_redis.operation import Fence, Kind, Lane, Operation

UNKNOWN = OutcomeUnknownError("the answer was lost")


class Links:
    """A lane that gives one outcome after the other."""

    def __init__(self, *outcomes: Any, usable: bool = True) -> None:
        self.links = self  # it is the route, too
        self.lanes = dict.fromkeys(Lane, self)
        self.down = "away"
        self.waited = 0
        self.asking: list[bool] = []
        self.alone: list[bool] = []
        self.asked: list[Address] = []
        self.told: list[str] = []
        self.follows = True
        self.doubt: str | None = None
        self._outcomes = list(outcomes)
        self._usable = usable

    def submit(
        self, _operation: Operation[Any], _deadline: float, *, asking: bool, alone: bool
    ) -> asyncio.Future[Any]:
        self.alone.append(alone)
        self.asking.append(asking)
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
        executor = Executor(cast("Routing", self), SYSTEM_CLOCK, by_slot=False)
        return await executor.run(operation, within=0.05)

    def doubt_for(self, operation: Operation[Any]) -> str | None:
        return Route.doubt_for(cast("Route", self), operation)

    def lead(self, _slot: int | None) -> Any:
        return self

    def at(self, address: Address) -> Any:
        self.asked.append(address)
        return self

    def redirected(self, error: RedirectError) -> bool:
        self.told.append(error.code)
        return self.follows


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


async def test_i5_nor_does_one_that_finds_nothing_to_do():
    """An update that ran where it was lost again: the next primary knows no such session."""

    def is_gone(result: int) -> bool:
        return result == 7

    with pytest.raises(OutcomeUnknownError, match="the answer was lost"):
        await Links(UNKNOWN, b"7").run(refuses=is_gone)
    assert await Links(UNKNOWN, b"8").run(refuses=is_gone) == 8
    assert await Links(b"7").run(refuses=is_gone) == 7


async def test_what_reached_redis_too_late_missed_its_deadline():
    """No outage: whoever tries by itself where there is none must not do so for this."""
    late = RefusedError("LATE", "late")
    with pytest.raises(DeadlineError) as missed:
        await Links(late, usable=False).run()
    assert missed.value.ran is Ran.NO
    assert await Links(late, 7).run() == 7, "a fresh sample of the clock cures it"
    with pytest.raises(RefusedError):
        await Links(RefusedError("NOREPLICAS", "refused"), usable=False).run()


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


ELSEWHERE = Address("10.0.0.9", 1)
MOVED = RedirectError("MOVED", "MOVED 1 10.0.0.9:1", 1, ELSEWHERE)
ASK = RedirectError("ASK", "ASK 1 10.0.0.9:1", 1, ELSEWHERE)


async def test_a_slot_that_has_moved_is_followed():
    links = Links(MOVED, 7)
    assert await links.run(Kind.EFFECT) == 7
    assert (links.told, links.asked, links.asking) == (["MOVED"], [], [False, False])


async def test_a_slot_on_its_way_is_asked_for_elsewhere_once_and_then_at_home():
    links = Links(ASK, RefusedError("TRYAGAIN", "some keys are here"), ASK, 7)
    assert await links.run(Kind.EFFECT, at_once=True) == 7
    assert links.asked == [ELSEWHERE, ELSEWHERE]
    assert links.asking == [False, True, False, True]
    assert links.alone == [False, True, True, True], "a call of several may be of two minds"


async def test_a_node_that_sends_round_in_circles_costs_the_deadline_and_no_more():
    for error in (MOVED, ASK):
        links = Links(error)
        with pytest.raises(RefusedError):
            await links.run()
        assert len(links.asking) < 100, "it is no busy loop"


async def test_where_there_is_no_cluster_a_redirection_is_the_answer():
    links = Links(MOVED, 7)
    links.follows = False
    with pytest.raises(RefusedError, match="another node"):
        await links.run()
