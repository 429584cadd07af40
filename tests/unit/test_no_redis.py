"""What answers in the place of a Redis or a Sentinel and is none: told as that, by each command."""

from __future__ import annotations

import pytest
from tests.fuzz.between import Posing
from tests.integration.fleet import until

from aragora_redis import SharedState
from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LinkDownError, Ran
from aragora_redis.ops.access import Access, Failure
from aragora_redis.ops.asking import survey
from aragora_redis.ops.connect import check_ways
from aragora_redis.ops.health import check_health
from aragora_redis.ops.report import Status
from aragora_redis.ops.survey import NodeSurvey, SentinelSurvey
from aragora_redis.ops.targets import SentinelTarget, StandaloneTarget

SAID = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a map whose key is a list": b"%1\r\n*0\r\n:1\r\n",
    "numbers": b":5\r\n",
    "a list of lists": b"*2\r\n*0\r\n*1\r\n*0\r\n",
    "a map of nothing that is asked for": b"%1\r\n+a\r\n+b\r\n",
    "nothing": b"_\r\n",
}


@pytest.fixture(params=SAID.values(), ids=list(SAID))
async def posing(request):
    async with Posing().listening() as posing:
        posing.answer = lambda _command: request.param
        yield posing


@pytest.fixture(params=["alone", "behind a Sentinel"])
def target(request, posing):
    if request.param == "alone":
        return StandaloneTarget(posing.address, Access())
    return SentinelTarget((posing.address,), "m", Access(), Access())


async def test_health_is_critical(target):
    report = await check_health(target, deadline=0.4)
    assert report.status is Status.CRITICAL


async def test_doctor_and_status_see_a_server_that_says_nothing_of_use(target):
    said = await survey(target, prefix="p", clock=SYSTEM_CLOCK, deadline=0.4)
    asked = said.sentinels if isinstance(target, SentinelTarget) else said.nodes
    assert all(isinstance(each, Failure) for each in asked.values())


async def test_the_step_of_a_connection_that_fails_is_named(target):
    report = await check_ways(target, clock=SYSTEM_CLOCK, deadline=0.4)
    assert report.ways
    for way in report.ways:
        assert way.failed is not None
        assert way.why


async def test_what_stalls_in_the_handshake_leaves_nothing_to_read_back():
    async with Posing().listening() as posing:
        posing.answer = lambda _command: b""
        state = SharedState.from_env({"ARAGORA_REDIS_URL": f"redis://{posing.address}"})
        state.start()
        try:
            reason = await until(lambda: "was not answered" in (told := told_of(state)) and told)
            with pytest.raises(LinkDownError) as refused:
                await state.sessions.create(user="u")
        finally:
            await state.close()
    assert "read back" not in f"{reason} {refused.value}"
    assert refused.value.ran is Ran.NO


def told_of(state: SharedState) -> str:
    return state.status().reason or ""


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "x", None])
def test_a_figure_that_is_none_is_not_told(value):
    seen = NodeSurvey(role="master", source=None, info={"used_memory": value}, config={})
    assert seen.number("used_memory") is None


@pytest.mark.parametrize("missing", ["down-after-milliseconds", "config-epoch", "quorum", "flags"])
def test_a_sentinel_that_leaves_out_what_is_judged_later_makes_no_sense(missing):
    said = {
        "down-after-milliseconds": "5000",
        "config-epoch": "1",
        "quorum": "2",
        "flags": "master",
    }
    at = Address("h", 1)
    sound = SentinelSurvey(id="i", named=at, master=said, replicas=(), fellows=(), info={})
    sound.demand_sense()
    del said[missing]
    with pytest.raises(KeyError):
        sound.demand_sense()
