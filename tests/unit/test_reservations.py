"""Reservations as a caller meets them, on the models: contexts, ids, outages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration.fleet import until

from aragora_redis import Rate
from aragora_redis.errors import (
    InvalidInputError,
    LimitExceededError,
    LimitUnavailableError,
    LinkDownError,
    OutageError,
    OutcomeUnknownError,
    OverloadedError,
    UnknownPolicyError,
)
from aragora_redis.policies import parse_policies
from aragora_redis.rate_limit import held, operations
from aragora_redis.rate_limit.gcra import Source
from aragora_redis.rate_limit.reservation import LATE, Found, Reservation, unseal
from aragora_redis.state.rate_limits import reservations
from aragora_redis.state.rate_limits.decider import CHARGES_AT_ONCE
from aragora_redis.state.rate_limits.rate_limits import RateLimits
from aragora_redis.testing import FakeClock, memory_state, outage

POLICIES = """
[limits.llm]
rate = "1000 per hour"
on_outage = "fail-open"
[limits.shadow]
rate = "10000 per hour"
on_outage = "fail-open"
shadow = true
[limits.strict]
rate = "10 per hour"
on_outage = "fail-closed"
"""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def state(clock):
    async with memory_state(POLICIES, clock=clock) as made:
        yield made


@pytest.fixture
def limits(state):
    return state.rate_limits


async def left(limits, subject="org:7"):
    return (await limits.check("llm", subject, 0)).remaining


def charge_of(limits, subject, cost):
    limiter = limits._book.named("llm")
    return operations.charge(limiter.policy, limiter.record(subject).key, cost)


async def test_a_context_settles_the_estimate_or_gives_it_back(limits):
    async with limits.reserve("llm", "org:7", 400) as reserved:
        assert await left(limits) == 600
        settled = await reserved.settle(150)
        assert (settled.returned, settled.charged, settled.overrun) == (250, 0, 0)
    assert await left(limits) == 850
    async with limits.reserve("llm", "org:7", 50):
        pass
    assert await left(limits) == 800
    with pytest.raises(ZeroDivisionError):
        async with limits.reserve("llm", "org:7", 300):
            raise ZeroDivisionError
    assert await left(limits) == 800
    with pytest.raises(LimitExceededError) as refused:
        async with limits.reserve("llm", "org:7", 900):
            pytest.fail("it was refused")
    assert refused.value.retry_after == pytest.approx(360)
    assert await left(limits) == 800


async def test_a_limit_that_the_file_loses_meanwhile_is_settled_as_it_was(state, limits):
    async with limits.reserve("llm", "org:7", 400) as reserved:
        state.use_policies(parse_policies("", source="empty"))
        assert await reserved.keep() == 400
    assert reserved.settled.cost == 400
    with pytest.raises(UnknownPolicyError):
        await limits.check("llm", "org:7")
    state.use_policies(parse_policies(POLICIES, source="mended"))
    assert await left(limits) == 600


async def test_what_cannot_be_given_back_hides_no_exception(limits, monkeypatch, caplog):
    async def fails(_reservation, _cost):
        raise OutageError("too many wait for Redis")

    monkeypatch.setattr(limits, "settle", fails)
    with pytest.raises(ZeroDivisionError):
        async with limits.reserve("llm", "org:7", 400) as reserved:
            raise ZeroDivisionError
    assert "too many wait for Redis" in caplog.text
    assert reserved.id not in caplog.text


async def test_an_id_is_enough_and_says_nobody_s_name(limits, clock):
    reserved = await limits.reserve("llm", "org:secret-name", 400, ttl=10)
    assert "secret-name" not in str(unseal(reserved.id, limits._decider.digest_key))
    assert (await limits.settle(reserved.id, 1500)).overrun == 500
    assert (await limits.refund(reserved.id)).overrun == 500, "the first one counts"
    assert (await limits.check("llm", "org:secret-name", 0)).remaining == 0
    for wrong in ("", "x", reserved.id[:-2], reserved.id + "AA", "é", 7, "A" * 5000):
        with pytest.raises(InvalidInputError):
            await limits.settle(wrong, 1)
    forged = Reservation("llm", b"aragora:l:{x}:llm", "a" * 16, 400, 0).seal(b"another key")
    with pytest.raises(InvalidInputError):
        await limits.settle(forged, 0)
    lapsed = await limits.reserve("llm", "org:8", 400, ttl=10)
    clock.advance(11)
    assert (await limits.settle(lapsed.id, 100)).found is Found.LAPSED
    for cost in (-1, 1.5, None, 2**60):
        other = await limits.reserve("llm", "org:9", 1)
        with pytest.raises(InvalidInputError):
            await limits.settle(other.id, cost)


async def test_arguments_that_cannot_be_reserved(limits):
    for wrong in (0, -1, 2**60, 1.5):
        with pytest.raises(InvalidInputError):
            limits.reserve("llm", "s", wrong)
    for too_long in (0, -1, float("nan"), 1e9, "1", True):
        with pytest.raises(InvalidInputError):
            limits.reserve("llm", "s", 1, ttl=too_long)
    with pytest.raises(InvalidInputError):
        await limits.reserve("llm", "s", 1001)
    with pytest.raises(UnknownPolicyError):
        limits.reserve("none", "s", 1)


async def test_without_redis_what_was_really_used_is_charged_later(state, limits, clock):
    async with outage(state):
        with pytest.raises(LimitUnavailableError):
            await limits.reserve("strict", "org:7", 1)
        one = await limits.reserve("llm", "org:7", 600)
        assert one.decision.source is Source.LOCAL
        assert not (await limits.reserve("llm", "org:7", 600)).allowed
        settled = await one.settle(100)
        assert (settled.returned, settled.confirmed) == (500, False)
        assert await limits.settle(one.id, 0) == settled
        forgotten = await limits.reserve("llm", "org:7", 800, ttl=5)
        clock.advance(6)
        last = await limits.reserve("llm", "org:7", 800)
        assert last.allowed, "it has lapsed"
        assert (await limits.settle(forgotten.id, 20)).found is Found.LAPSED
        await last.refund()
    assert await left(limits) == pytest.approx(880, abs=3), "100 and 20 were used"


@pytest.mark.parametrize("how", ["unknown", "cancelled"])
@pytest.mark.parametrize("policy", ["strict", "llm"])
async def test_what_was_reserved_and_nobody_was_told_of_is_given_back(
    state, limits, monkeypatch, policy, how
):
    """The answer came too late, or its caller has gone: Redis would hold it for an hour."""
    run, asked = state.embedded.run, []

    async def late(operation, **given):
        answer = await run(operation, **given)
        if operation.script.name != "reserve":
            return answer
        asked.append(operation)
        if how == "cancelled":
            await asyncio.Event().wait()
        raise OutcomeUnknownError("the answer was late")

    most = 10 if policy == "strict" else 1000
    with monkeypatch.context() as patch:
        patch.setattr(state.embedded, "run", late)
        await limits.check(policy, "org:7", 1)
        making = asyncio.ensure_future(limits.reserve(policy, "org:7", most - 1, ttl=3600))
        if how == "cancelled":
            await until(lambda: asked)
            making.cancel()
        said: Any = (await asyncio.gather(making, return_exceptions=True))[0]
    assert len(asked) == 1
    if policy == "strict" or how == "cancelled":
        assert isinstance(said, (LimitUnavailableError, asyncio.CancelledError))
    else:
        await said.settle(0)
    assert (await limits.check(policy, "org:7", 0)).remaining == 0
    await limits.settle_debts()
    assert (await limits.check(policy, "org:7", 0)).remaining == most - 1


async def test_what_is_settled_during_an_outage_reaches_redis_once_when_it_is_back(state, limits):
    reserved = await limits.reserve("llm", "org:7", 400)
    async with outage(state):
        settled = await reserved.settle(100)
        assert (settled.returned, settled.confirmed) == (300, False)
        assert limits.in_debt
        assert await limits.settle(reserved.id, 400) == settled
    assert not limits.in_debt
    assert await left(limits) == 900


async def test_a_context_keeps_what_it_has_reserved_while_it_lasts():
    async with memory_state(POLICIES) as state:
        limits = state.rate_limits
        async with limits.reserve("llm", "org:7", 400, ttl=0.2) as reserved:
            kept = {reserved.id}
            while len(kept) < 6:  # more than its time has passed
                await asyncio.sleep(0.01)
                kept.add(reserved.id)
            assert await left(limits) == pytest.approx(600, abs=2)
            await reserved.settle(100)
        assert (await limits.keep(reserved.id)).held == 0
        assert await left(limits) == pytest.approx(900, abs=2)


async def test_what_was_reserved_without_redis_is_kept_here_too(state, limits, clock):
    async with outage(state):
        reserved = await limits.reserve("llm", "org:7", 400, ttl=60)
        lapses = await limits.reserve("llm", "org:7", 100, ttl=60)
        clock.advance(50)
        assert await reserved.keep(60) == 400
        clock.advance(50)
        settled = await reserved.settle(300)
        assert (settled.found, settled.returned) == (Found.HELD, 100)
        assert (await limits.keep(reserved.id)).held == 0
        with pytest.raises(LinkDownError):
            await limits.keep(lapses.id)
    with pytest.raises(InvalidInputError):
        await limits.keep("none")
    with pytest.raises(InvalidInputError):
        await limits.keep(reserved.id, 0)


async def test_what_is_kept_for_less_lapses_no_sooner_and_its_id_says_so(limits, clock):
    reserved = await limits.reserve("llm", "org:7", 1000, ttl=3600)
    first = reserved.id
    await reserved.keep(60)
    assert reserved.id == first
    clock.advance(600)
    settled = await limits.settle(reserved.id, 10)
    assert (settled.found, settled.returned) == (Found.HELD, 990)


async def test_what_was_settled_is_never_held_again_by_whatever_id(limits, clock):
    reserved = await limits.reserve("llm", "org:7", 900, ttl=60)
    first = reserved.id
    await reserved.keep(3600)
    settled = await limits.settle(first, 400)
    clock.advance(370)
    assert await limits.settle(reserved.id, 400) == settled
    for _ in range(4):
        clock.advance(3600)
        assert (await limits.keep(first)).held == (await limits.keep(reserved.id)).held == 0
    assert await left(limits) == 1000


async def test_what_lapsed_without_redis_is_held_again_where_its_holder_lives(state, limits, clock):
    async with outage(state):
        reserved = await limits.reserve("llm", "org:7", 400, ttl=60)
        clock.advance(61)
        with pytest.raises(LinkDownError):
            await reserved.keep()
    assert await reserved.keep() == 400
    assert await left(limits) == 600
    settled = await reserved.settle(100)
    assert (settled.found, settled.returned) == (Found.HELD, 300)


async def test_what_is_kept_as_redis_is_told_of_it_lasts_there_too(
    state, limits, clock, monkeypatch
):
    run = state.embedded.run
    async with outage(state):
        reserved = await limits.reserve("llm", "org:7", 900, ttl=10)
        kept: list[int] = []

        async def keep_meanwhile(*args, **given):
            if not kept:
                kept.append(await reserved.keep(3600))
            return await run(*args, **given)

        monkeypatch.setattr(state.embedded, "run", keep_meanwhile)
    assert kept == [900]
    clock.advance(11)
    assert await left(limits) < 200


async def test_in_an_outage_what_redis_holds_cannot_be_kept_and_that_is_said(state, limits):
    reserved = await limits.reserve("llm", "org:7", 400)
    async with outage(state):
        with pytest.raises(LinkDownError):
            await reserved.keep()
    assert await reserved.keep() == 400


async def test_two_that_settle_at_once_as_redis_hangs_are_told_of_the_first(
    state, limits, monkeypatch
):
    reserved = await limits.reserve("llm", "org:7", 400)
    run = state.embedded.run

    async def hang(*args, **given):
        await asyncio.sleep(0)
        return await run(*args, **given)

    async with outage(state):
        monkeypatch.setattr(state.embedded, "run", hang)
        first, second = await asyncio.gather(
            limits.settle(reserved.id, 100), limits.settle(reserved.id, 400)
        )
        assert (first.cost, second) == (100, first)
    assert not limits.in_debt
    assert await left(limits) == 900


async def test_a_limit_of_the_call_and_one_that_operators_set(limits):
    rate = Rate("10 per hour", burst=20)
    assert (await limits.check("llm", "u", 20, limit=rate)).remaining == 0
    refused = await limits.check("llm", "u", limit=rate)
    assert (refused.allowed, refused.limit) == (False, 20)
    assert (await limits.check("llm", "u", limit=rate)).source is Source.DENY_CACHE
    assert not await limits.set_limit("llm", "u", Rate("36000 per hour", burst=100_000))
    ample = await limits.check("llm", "u", 5000, limit=rate)
    assert (ample.allowed, ample.limit) == (True, 100_000), "operators come before the call"
    with pytest.raises(InvalidInputError, match="100000"):
        await limits.check("llm", "u", 100_001, limit=rate)
    reserved = await limits.reserve("llm", "u", 5000)
    await reserved.refund()
    assert (await limits.check("llm", "u", 0)).remaining == 100_000 - 5000 - 1000
    assert await limits.set_limit("llm", "u", None)
    with pytest.raises(InvalidInputError, match="1000"):
        await limits.check("llm", "u", 1001)
    for wrong in ("ten per hour", "0/second", "", "1/0 seconds"):
        with pytest.raises(InvalidInputError):
            Rate(wrong)
    with pytest.raises(InvalidInputError):
        Rate("1/second", burst=0)


async def test_a_reservation_that_nobody_can_settle_any_more_is_told_so(state, limits, clock):
    before = await limits.reserve("llm", "org:7", 400, ttl=60)
    async with outage(state):
        meanwhile = await limits.reserve("llm", "org:8", 400, ttl=60)
        clock.advance(60 + LATE + 1)
        for reserved in (before, meanwhile):
            assert (await limits.settle(reserved.id, 100)).found is Found.PAST
    assert await left(limits) == 1000


async def test_a_settlement_made_without_redis_is_not_charged_again_elsewhere(state, limits):
    other = RateLimits({"llm": limits.policy("llm")}, decider=limits._decider, events=state.events)
    async with outage(state):
        reserved = await limits.reserve("llm", "org:7", 400)
        await reserved.settle(100)
    assert (await other.settle(reserved.id, 100)).found is Found.LOST
    assert await left(limits) == 900


async def test_what_was_settled_in_a_long_outage_is_charged_less_what_came_back(
    state, limits, clock
):
    async with outage(state):
        reserved = await limits.reserve("llm", "org:7", 600, ttl=60)
        await reserved.settle(600)
        clock.advance(1800)
    assert await left(limits) == pytest.approx(900, abs=2)


async def test_reservations_that_overlap_an_outage_bring_no_second_burst(state, limits, clock):
    async with outage(state):
        held = []
        for _ in range(4):
            held.append(await limits.reserve("llm", "org:7", 1000, ttl=80_000))
            clock.advance(3600)
        given = 0
        for reserved in held:
            given += (await limits.check("llm", "org:7", 1000)).allowed
            await reserved.refund()
        assert given == 1


async def test_what_is_reserved_in_outages_that_come_and_go_is_the_limit_once(state, limits, clock):
    reserved = 0
    for _ in range(6):
        async with outage(state):
            made = await limits.reserve("llm", "org:7", 990, ttl=3600)
            reserved += made.allowed
        clock.advance(1)
        other = await limits.reserve("llm", "org:7", 1)
        if other.allowed:
            await other.refund()
    assert reserved == 1


async def test_what_is_open_when_redis_is_back_is_held_there_and_settled_like_any_other(
    state, limits
):
    await limits.check("llm", "org:8", 400)
    async with outage(state):
        held = await limits.reserve("llm", "org:7", 400, ttl=600)
        more = await limits.reserve("llm", "org:8", 300, ttl=600)
        state.embedded.outage, instead = None, state.embedded.outage
        await state.embedded.run(charge_of(limits, "org:8", 500), within=1)
        state.embedded.outage = instead
    assert (await left(limits), await left(limits, "org:8")) == (600, 0)
    settled = await limits.settle(held.id, 100)
    assert (settled.found, settled.returned, settled.confirmed) == (Found.HELD, 300, True)
    assert await left(limits) == 900
    assert (await more.refund()).returned == 100
    assert (await limits.settle(more.id, 0)).returned == 100
    assert await left(limits, "org:8") == 100, "no more comes back than was there to be held"


async def test_what_another_has_settled_before_it_is_held_counts_once(state, limits):
    other = RateLimits({"llm": limits.policy("llm")}, decider=limits._decider, events=state.events)
    async with outage(state):
        reserved = await limits.reserve("llm", "org:7", 400, ttl=600)
        state.embedded.outage = None
        assert (await other.settle(reserved.id, 100)).found is Found.LOST
    assert await left(limits) == 900


async def test_what_redis_cannot_hold_any_more_counts_as_used(state, limits, monkeypatch):
    monkeypatch.setattr(operations, "MOST_HOLDS", 8)
    async with outage(state):
        made = [await limits.reserve("llm", "org:7", 10) for _ in range(10)]
    assert not limits.in_debt
    assert await left(limits) == 900
    for reserved in made:
        await reserved.refund()
    assert await left(limits) == 980


async def test_those_that_are_over_leave_room_for_others(state, limits, monkeypatch):
    for module in (held, reservations):
        monkeypatch.setattr(module, "KEPT_HERE", 5)
    async with outage(state):
        settled = []
        for _ in range(12):
            one = await limits.reserve("llm", "org:7", 10)
            settled.append((one.id, await one.settle(10)))
        for made, said in settled[-5:]:
            assert await limits.settle(made, 0) == said
        for _ in range(5):
            assert (await limits.reserve("llm", "org:7", 10)).allowed
        with pytest.raises(OverloadedError, match="are open"):
            await limits.reserve("llm", "org:7", 10)
        for _ in range(6):
            assert (await limits.reserve("shadow", "org:7", 10)).allowed
    assert await left(limits) == 1000 - 170


async def test_a_limit_in_shadow_mode_lets_more_through_than_can_be_held(limits, monkeypatch):
    monkeypatch.setattr(operations, "MOST_HOLDS", 8)
    made = [await limits.reserve("shadow", "org:7", 1) for _ in range(9)]
    assert all(reserved.allowed for reserved in made)


async def test_a_slower_limit_of_the_call_comes_back_at_its_own_rate(state, limits):
    async with outage(state):
        slow = Rate("10 per hour", burst=10)
        reserved = await limits.reserve("llm", "org:7", 10, limit=slow)
        await reserved.refund()
        assert (await limits.check("llm", "org:7", 10, limit=slow)).allowed


async def test_a_shard_that_is_down_does_not_hold_up_the_settlements_of_others(state, limits):
    subjects = ["org:down", "org:up"]
    held = [await limits.reserve("llm", subject, 400) for subject in subjects]
    down = unseal(held[0].id, limits._decider.digest_key).key
    run = state.embedded.run

    async def run_elsewhere(operation, *, within):
        if operation.keys[0] == down:
            raise LinkDownError("its shard is down")
        return await run(operation, within=within)

    async with outage(state):
        for reserved in held:
            await reserved.settle(100)
        state.embedded.outage, state.embedded.run = None, run_elsewhere
        await limits.settle_debts()
        assert (await limits.check("llm", "org:up", 0)).remaining == 900
        assert limits.in_debt
        state.embedded.run = run
    assert not limits.in_debt


async def test_what_is_owed_is_told_once_at_a_time(state, limits):
    reserved = await limits.reserve("llm", "org:7", 400)
    run, sent = state.embedded.run, []

    async def run_slowly(operation, *, within):
        sent.append(operation)
        await asyncio.sleep(0)
        return await run(operation, within=within)

    async with outage(state):
        await reserved.settle(100)
        state.embedded.outage, state.embedded.run = None, run_slowly
        await asyncio.gather(limits.settle_debts(), limits.settle_debts())
    assert len(sent) == 1


async def test_an_instance_that_ends_soon_after_an_outage_has_told_what_it_admitted(state, limits):
    run, subjects = state.embedded.run, [f"org:{n}" for n in range(2 * CHARGES_AT_ONCE)]

    async def run_slowly(operation, *, within):
        await asyncio.sleep(0.01)
        return await run(operation, within=within)

    state.embedded.outage = LinkDownError("an outage")
    for subject in subjects:
        await limits.check("llm", subject, 1000)
    state.embedded.outage, state.embedded.run = None, run_slowly
    limits.on_accepted()
    await asyncio.sleep(0)
    await state.close()
    state.embedded.run = run
    state.life.begin()  # to look at what it has told
    for subject in subjects:
        assert (await limits.peek("llm", subject)).decision.remaining == 0


async def test_a_limit_that_operators_set_for_a_while_ends_in_an_outage_too(limits, state, clock):
    await limits.set_limit("llm", "u", Rate("1000 per hour", burst=5000), ttl=60)
    assert (await limits.check("llm", "u", 0)).limit == 5000
    async with outage(state):
        assert (await limits.check("llm", "u", 0)).limit == 5000
        clock.advance(61)
        assert (await limits.check("llm", "u", 0)).limit == 1000
        with pytest.raises(InvalidInputError):
            await limits.check("llm", "u", 1001)
